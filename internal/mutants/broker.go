package main

// brokerMutants forget an order that somebody is owed.
var brokerMutants = []mutant{
	{name: "orders above an ack floor are trimmed", by: "TestTrim_[^M]", edits: []edit{
		{"trim.go", "\tto, heldBy := lowest(want, floors)\n", "\tto, heldBy := want, \"\"\n\t_, _ = lowest(want, floors)\n"},
	}},
	{name: "orders that nobody reads yet are trimmed", by: "TestTrim_[^M]", edits: []edit{
		{"trim.go", "if err != nil || (len(floors) == 0 && l.Stream == StreamOrders) {", "if err != nil {"},
	}},
	{name: "an outcome is trimmed before its order", by: "TestTrim_[^M]", edits: []edit{
		{"trim.go", "\t\twant = min(want, gone)\n", "\t\t_ = gone\n"},
	}},
	{name: "tiers that follow those of the plan are nobody's", by: "TestProvision_Keeps", edits: []edit{
		{"provision.go", "errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {\n\t\t\treturn n, nil", "n == planned {\n\t\t\treturn n, nil"},
	}},
}
