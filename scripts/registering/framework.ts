	mmpref: {
		name: "mmpref",
		description:
			"mmpref evaluates vision-language models and adapters on hallucination benchmarks by their original rules, with intervals over images.",
		url: "https://pypi.org/project/mmpref/",
	},
