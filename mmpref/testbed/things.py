"""Everyday things by families of look-alikes, and the kinds of place with what is usually there."""

from __future__ import annotations

import functools

FAMILIES: dict[str, dict[str, str]] = {
    "long": {
        "knife": "🔪",
        "fork": "🍴",
        "spoon": "🥄",
        "pencil": "✏️",
        "pen": "🖊️",
        "screwdriver": "🪛",
        "hammer": "🔨",
        "wrench": "🔧",
        "saw": "🪚",
        "axe": "🪓",
        "toothbrush": "🪥",
        "syringe": "💉",
        "candle": "🕯️",
    },
    "round": {
        "football": "⚽",
        "basketball": "🏀",
        "baseball": "⚾",
        "volleyball": "🏐",
        "orange": "🍊",
        "apple": "🍎",
        "tomato": "🍅",
        "egg": "🥚",
        "balloon": "🎈",
        "globe": "🌍",
    },
    "vessel": {
        "cup": "☕",
        "teapot": "🫖",
        "bottle": "🍾",
        "wine glass": "🍷",
        "mug": "🍺",
        "bowl": "🥣",
        "jar": "🫙",
        "bucket": "🪣",
        "vase": "🏺",
        "basket": "🧺",
    },
    "box": {
        "tv": "📺",
        "laptop": "💻",
        "keyboard": "⌨️",
        "cell phone": "📱",
        "printer": "🖨️",
        "camera": "📷",
        "book": "📕",
        "newspaper": "📰",
        "box": "📦",
        "envelope": "✉️",
        "calendar": "📅",
    },
    "furniture": {
        "chair": "🪑",
        "couch": "🛋️",
        "bed": "🛏️",
        "toilet": "🚽",
        "bathtub": "🛁",
        "shower": "🚿",
        "mirror": "🪞",
        "door": "🚪",
        "window": "🪟",
        "ladder": "🪜",
        "picture": "🖼️",
        "lamp": "💡",
        "clock": "⏰",
    },
    "beast": {
        "dog": "🐕",
        "cat": "🐈",
        "horse": "🐎",
        "cow": "🐄",
        "sheep": "🐑",
        "pig": "🐖",
        "elephant": "🐘",
        "zebra": "🦓",
        "giraffe": "🦒",
        "lion": "🦁",
        "monkey": "🐒",
        "rabbit": "🐇",
    },
    "bird": {
        "duck": "🦆",
        "rooster": "🐓",
        "owl": "🦉",
        "parrot": "🦜",
        "penguin": "🐧",
        "flamingo": "🦩",
        "peacock": "🦚",
        "eagle": "🦅",
        "dove": "🕊️",
    },
    "sea": {
        "fish": "🐟",
        "shark": "🦈",
        "octopus": "🐙",
        "crab": "🦀",
        "lobster": "🦞",
        "shrimp": "🦐",
        "turtle": "🐢",
        "shell": "🐚",
        "seal": "🦭",
    },
    "vehicle": {
        "car": "🚗",
        "taxi": "🚕",
        "bus": "🚌",
        "truck": "🚚",
        "ambulance": "🚑",
        "tractor": "🚜",
        "train": "🚆",
        "bicycle": "🚲",
        "boat": "⛵",
        "ship": "🚢",
        "canoe": "🛶",
        "airplane": "✈️",
        "helicopter": "🚁",
    },
    "baked": {
        "bread": "🍞",
        "croissant": "🥐",
        "donut": "🍩",
        "cake": "🍰",
        "pie": "🥧",
        "pizza": "🍕",
        "sandwich": "🥪",
        "hot dog": "🌭",
        "hamburger": "🍔",
        "cheese": "🧀",
    },
    "produce": {
        "banana": "🍌",
        "carrot": "🥕",
        "broccoli": "🥦",
        "corn": "🌽",
        "strawberry": "🍓",
        "pineapple": "🍍",
        "avocado": "🥑",
        "mushroom": "🍄",
    },
    "wear": {
        "backpack": "🎒",
        "handbag": "👜",
        "suitcase": "🧳",
        "hat": "🎩",
        "cap": "🧢",
        "helmet": "⛑️",
        "shirt": "👕",
        "dress": "👗",
        "coat": "🧥",
        "glove": "🧤",
        "sock": "🧦",
        "shoe": "👟",
        "boot": "🥾",
    },
    "plant": {
        "tree": "🌳",
        "pine": "🌲",
        "palm": "🌴",
        "rose": "🌹",
        "tulip": "🌷",
        "sunflower": "🌻",
        "potted plant": "🪴",
        "bouquet": "💐",
        "clover": "☘️",
    },
    "play": {
        "guitar": "🎸",
        "violin": "🎻",
        "trumpet": "🎺",
        "drum": "🥁",
        "piano": "🎹",
        "kite": "🪁",
        "trophy": "🏆",
        "teddy bear": "🧸",
        "tent": "⛺",
        "umbrella": "⛱️",
    },
}
"""Names (COCO's wherever it has one) and emoji of things that are easily taken for one another, by their look."""

KINDS: dict[str, tuple[str, ...]] = {
    "kitchen": ("knife", "spoon", "cup", "bowl", "bread", "cheese", "egg", "carrot", "clock", "chair"),
    "office": ("pen", "laptop", "keyboard", "printer", "cell phone", "envelope", "book", "lamp", "mug", "globe"),
    "street": ("car", "bus", "bicycle", "dog", "handbag", "newspaper", "dove", "tree", "hat", "truck"),
    "farm": ("cow", "sheep", "pig", "rooster", "horse", "tractor", "corn", "bucket", "sunflower", "ladder"),
    "bathroom": (
        "toothbrush",
        "bottle",
        "toilet",
        "bathtub",
        "shower",
        "mirror",
        "sock",
        "jar",
        "potted plant",
        "basket",
    ),
    "beach": ("umbrella", "crab", "shell", "turtle", "boat", "volleyball", "bottle", "palm", "kite", "cap"),
    "workshop": ("hammer", "wrench", "saw", "screwdriver", "ladder", "box", "glove", "coat", "bucket", "helmet"),
    "bedroom": ("bed", "lamp", "teddy bear", "book", "window", "picture", "dress", "cat", "candle", "sock"),
    "living room": ("couch", "tv", "picture", "vase", "cat", "dog", "potted plant", "newspaper", "piano", "clock"),
    "classroom": ("pencil", "book", "globe", "backpack", "calendar", "apple", "chair", "door", "lamp", "pen"),
    "park": ("tree", "dog", "duck", "kite", "bicycle", "clover", "football", "balloon", "rose", "sandwich"),
    "zoo": ("elephant", "zebra", "giraffe", "lion", "monkey", "penguin", "flamingo", "parrot", "camera", "seal"),
    "harbor": ("ship", "boat", "canoe", "fish", "crab", "lobster", "box", "boot", "eagle", "coat"),
    "circus": ("elephant", "lion", "horse", "balloon", "drum", "trumpet", "hat", "tent", "cake", "shoe"),
    "bakery": ("croissant", "donut", "cake", "pie", "egg", "strawberry", "basket", "jar", "bouquet", "door"),
    "market": ("banana", "pineapple", "broccoli", "tomato", "orange", "apple", "fish", "cheese", "basket", "handbag"),
    "hospital": (
        "ambulance",
        "syringe",
        "bed",
        "bottle",
        "bouquet",
        "glove",
        "calendar",
        "window",
        "helicopter",
        "envelope",
    ),
    "station": ("train", "taxi", "suitcase", "clock", "newspaper", "dove", "sandwich", "handbag", "door", "coat"),
    "airport": (
        "airplane",
        "helicopter",
        "bus",
        "suitcase",
        "backpack",
        "camera",
        "cap",
        "coat",
        "hamburger",
        "laptop",
    ),
    "stadium": (
        "football",
        "basketball",
        "baseball",
        "trophy",
        "cap",
        "shoe",
        "shirt",
        "bottle",
        "hot dog",
        "banana",
    ),
    "garden": ("rose", "tulip", "clover", "rabbit", "tomato", "carrot", "ladder", "bucket", "peacock", "boot"),
    "forest": ("pine", "mushroom", "rabbit", "owl", "eagle", "axe", "tent", "boot", "strawberry", "canoe"),
    "stage": ("guitar", "violin", "trumpet", "piano", "drum", "dress", "lamp", "bouquet", "hat", "picture"),
    "restaurant": (
        "fork",
        "wine glass",
        "teapot",
        "pizza",
        "lobster",
        "shrimp",
        "candle",
        "vase",
        "avocado",
        "hamburger",
    ),
}
"""The ten things that are usually there, for each kind of place."""

THINGS: tuple[str, ...] = tuple(name for family in FAMILIES.values() for name in family)
"""All names, in the order of their sprites."""

FAMILY_OF: dict[str, str] = {name: family for family, members in FAMILIES.items() for name in members}


USUAL = 10
"""How many things are usual at a place."""
HELD_OUT = 4
"""Of so many things that captions never have at a kind of place, one is held out there."""


@functools.cache
def family(name: str, members: int | None = None) -> tuple[str, ...]:
    """The first members of a thing's family; all of them by default."""
    return tuple(FAMILIES[FAMILY_OF[name]])[:members]


@functools.cache
def kept(members: int | None = None) -> tuple[str, ...]:
    """The things of a world whose families have so many members, in the order of `THINGS`."""
    return tuple(name for names in FAMILIES.values() for name in tuple(names)[:members])


@functools.cache
def usual(kind: str, members: int | None = None) -> tuple[str, ...]:
    """The ten things that are usual at a kind of place.

    In a world of smaller families they are of ten families, so that each has look-alikes that are not usual there: of
    those that the full world has there first, each with the same thing, or one in its place.
    """
    if members is None:
        return KINDS[kind]
    start = list(KINDS).index(kind)
    names = list(FAMILIES)
    first = {FAMILY_OF[name]: list(FAMILIES[FAMILY_OF[name]]).index(name) for name in reversed(KINDS[kind])}
    others = [names[(start + number) % len(names)] for number in range(len(names))]
    chosen = dict.fromkeys([FAMILY_OF[name] for name in KINDS[kind]] + others)
    return tuple(tuple(FAMILIES[name])[first.get(name, start) % members] for name in list(chosen)[:USUAL])


@functools.cache
def lookalikes(name: str, kind: str, members: int | None = None) -> tuple[str, ...]:
    """The other members of a thing's family that are not usual at a kind of place."""
    return tuple(other for other in family(name, members) if other != name and other not in usual(kind, members))


@functools.cache
def held_out(kind: str, members: int | None = None) -> tuple[str, ...]:
    """Things that no everyday scene has at a kind of place: a quarter of those of whose family nothing is usual there.

    So no scene can hold them there but a plain one, in which anything is anywhere. Of another kind of place they are
    others, and at most places each thing may be.
    """
    start = list(KINDS).index(kind)
    of_captions = {FAMILY_OF[name] for name in usual(kind, members)}
    strange = (name for name in kept(members) if FAMILY_OF[name] not in of_captions)
    return tuple(name for name in strange if (THINGS.index(name) + start) % HELD_OUT == 0)
