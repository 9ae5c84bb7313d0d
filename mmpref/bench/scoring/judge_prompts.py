"""What judges are asked: the published structure, scales and forms of reply, in our own words.

A prompt's words move its numbers. ``--judge-prompt FILE`` takes another template, such as the authors' own.
"""

from __future__ import annotations

MMHAL = """\
You are an impartial judge of an answer that a multimodal model (LMM) gave to a question about an image. Judge two \
things: is the answer informative, and does it hallucinate? It hallucinates where it states something that neither the \
image nor the conversation shows or implies: an object, a number, a colour, a place, an action, a text that is not \
there.

{see} You also get a list of what the image contains, and an answer that a person wrote.

Five examples:

### Image Contents
Dog, Grass
### Question
What breed is the dog?
### Standard Human-Generated Answer
It is a border collie.
### LMM Response to Evaluate
The dog on the grass is a border collie, a breed that was bred for herding sheep.
Analysis: The breed is right, and what is added about it is general knowledge that the image does not contradict.
Hallucination: No
Rating: 6

### Image Contents
Car, Street light
### Question
How many people stand beside the car?
### Standard Human-Generated Answer
There are no people in the image.
### LMM Response to Evaluate
Two people stand beside the car.
Analysis: Nobody is in the image; the people are made up.
Hallucination: Yes
Rating: 0

### Image Contents
Table, Coffee cup
### Question
What is on the left of the cup?
### Standard Human-Generated Answer
A spoon.
### LMM Response to Evaluate
There is something on the table.
Analysis: Nothing is wrong, but the question is not answered.
Hallucination: No
Rating: 3

### Image Contents
Boat, Lake, Tree
### Question
Describe the surroundings.
### Standard Human-Generated Answer
A boat on a lake with trees behind it. The sky is clear.
### LMM Response to Evaluate
A small boat lies on a calm lake. Behind it are trees, and three ducks swim in front of them.
Analysis: The description is full and mostly right, but nothing shows the three ducks.
Hallucination: Yes
Rating: 2

### Image Contents
Clock, Building
### Question
What time does the clock show?
### Standard Human-Generated Answer
Ten past ten.
### LMM Response to Evaluate
The clock shows ten past ten.
Analysis: Right, and to the point.
Hallucination: No
Rating: 5

The person's answer may leave things out; an answer that says more is not wrong for that, and analysis that goes further
is welcome as long as the image bears it out.

Write a short explanation first, and then, on a line of its own, one of these ratings:
Rating: 6, very informative with good analysis or reasoning, no hallucination
Rating: 5, very informative, no hallucination
Rating: 4, somewhat informative, no hallucination
Rating: 3, not informative, no hallucination
Rating: 2, very informative, with hallucination
Rating: 1, somewhat informative, with hallucination
Rating: 0, not informative, with hallucination
Name exactly one rating, in the form "Rating: N".

### Image Contents
{contents}

### Question
{question}

### Standard Human-Generated Answer
{reference}

### LMM Response to Evaluate
{answer}
"""

LLAVA_WILD_SYSTEM = "You check the quality of answers, helpfully and with care for detail."
LLAVA_WILD = """\
[Context]
{context}

[Question]
{question}

[Assistant 1]
{reference}

[End of Assistant 1]

[Assistant 2]
{answer}

[End of Assistant 2]

[System]
Two assistants have answered a user's question about an image that you do not see; the context describes it. Rate how \
helpful, relevant, accurate and detailed each answer is. Each assistant gets one score from 1 to 10, and a higher one \
is better. Write on the first line only the two scores, of Assistant 1 and of Assistant 2, with a space between them. \
On the following lines explain the scores, without favour to either and without regard to the order of the answers.
"""

REFOMB = """\
You are an impartial judge of the answers of two multimodal models to a user's question about a picture. You do not \
see the picture; its description holds everything there is to know of it. Judge by two things. Trustworthiness: how \
many hallucinations does an answer have, statements that contradict the description or that it does not bear out? \
Look for wrong statements about what is seen (kinds of things, people, clothes, actions, places, text, colours, \
sizes, numbers), about the picture as such (where it was made, its kind, purpose and quality), and about its mood and \
meaning. Helpfulness: does the answer help the user with something right, to the point and easy to understand? Where \
the question asks for something creative, such as a story, an answer may invent some of it.

Say first which model is more trustworthy, with the hallucinations of each, then which is more helpful. End with your \
verdict in this form: "[[A]]" if Model A is better, "[[B]]" if Model B is better, "[[C]]" if both are equally good.

[Beginning of the detailed description of the picture]
{context}
[End of the detailed description of the picture]

[Beginning of the user's question]
{question}
[End of the user's question]

[Beginning of Model A's answer]
{reference}
[End of Model A's answer]

[Beginning of Model B's answer]
{answer}
[End of Model B's answer]
"""

MM_VET = """\
Score how correct a model's prediction is, by the ground truth. Where the ground truth joins parts by <AND>, it is \
wholly right only with all of them; where it joins them by <OR>, one is enough. The score is one of 0.0 (wholly \
wrong), 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9 and 1.0 (wholly right). Complete the last row: reply with its \
score alone.

Question | Ground truth | Prediction | Correctness
--- | --- | --- | ---
Which two fruits are in the bowl? | apple <AND> pear | a banana | 0.0
Which two fruits are in the bowl? | apple <AND> pear | an apple | 0.5
Which two fruits are in the bowl? | apple <AND> pear | some pears | 0.5
Which two fruits are in the bowl? | apple <AND> pear | an apple and a plum | 0.5
Which two fruits are in the bowl? | apple <AND> pear | pears and an apple | 1.0
Why is the sign funny? | It forbids to read it, which one can only know by having read it. | It is a sign about \
reading. | 0.4
Why is the sign funny? | It forbids to read it, which one can only know by having read it. | To learn that \
reading the sign is forbidden one must read it, so that nobody can obey it. | 1.0
{question} | {reference} | {answer} | """

OBJECT_HALBENCH = """\
You find the objects of an image in an answer about it. An examiner was asked a question about a picture.

[Start of Question]

<image> {question}

[End of Question]

[Start of Examiner's Answer]

{answer}

[End of Examiner's Answer]

Take the answer as correct, and name every object that can be seen in the picture according to it:

1. Name only objects that the answer mentions in so many words.
2. Give an object's name alone, without attributes.
3. Its properties, such as colour and material, are no part of its name.
4. Be exact. The result is a JSON list: ["object_1", ..., "object_n"].
5. Where the answer names no object that can be seen, the list is empty.

End with the list on a line of its own.
"""
