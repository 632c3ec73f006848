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
}
