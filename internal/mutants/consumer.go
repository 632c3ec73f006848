package main

// consumerMutants lose, double or delay an order, or sink a neighbour.
var consumerMutants = []mutant{
	{name: "the order is acknowledged before anything is stored", by: "TestCrash", edits: []edit{
		{"settle.go", "\tif e.verdict.Fate == Done {\n\t\tg.outbox.put", "\tg.ack(d)\n\tif e.verdict.Fate == Done {\n\t\tg.outbox.put"},
	}},
	{name: "nobody waits until the outcome is stored", by: "TestTrouble|TestCrash", edits: []edit{
		{"outbox.go", "\treturn o.group.storeMessage(ctx, m)\n", "\to.group.conn.StoreAsync(m, func(broker.Receipt, error) {})\n\t_ = ctx\n\treturn nil\n"},
	}},
	{name: "an order that is settled twice at once is two outcomes", by: "TestGroup_TheSameOrder", edits: []edit{
		{"outbox.go", "s.OrderID == other.OrderID {", "false {"},
	}},
	{name: "a slot never waits for its outcome", by: "TestGroup_HandlesNoMore", edits: []edit{
		{"outbox.go", "o.held > o.group.behind()", "o.held < 0"},
	}},
	{name: "slots are free before the alarm", by: "TestTrouble_NothingIsLost", edits: []edit{
		{"outbox.go", "\t\t\to.group.alarm(err) // before a slot is free\n", ""},
	}},
	{name: "nobody waits until the retry is stored", by: "TestTrouble|TestCrash", edits: []edit{
		{"settle.go", "err = g.storeMessage(ctx, g.retry(d, e.verdict, e.attempt))", "g.conn.StoreAsync(g.retry(d, e.verdict, e.attempt), func(broker.Receipt, error) {})"},
	}},
	{name: "nobody waits until the letter is stored", by: "TestTrouble|TestCrash", edits: []edit{
		{"settle.go", "err = g.again(ctx, func(ctx context.Context) error { return g.desk.Post(ctx, letter) })", "go func() { _ = g.desk.Post(context.Background(), letter) }()"},
	}},
	{name: "what can't be stored is acknowledged", by: "TestTrouble", edits: []edit{
		{"settle.go", "\t\tg.giveBack(d)\n\t\treturn\n", "\t\tg.ack(d)\n\t\treturn\n"},
	}},
	{name: "a retry's id names the attempt, not the wait", by: "TestGroup_RetryAfter", edits: []edit{
		{"settle.go", "hop.Generation, hop.Waits),", "hop.Generation, hop.Attempt),"},
	}},
	{name: "a retry's id is new each time", by: "TestCrash_Between", edits: []edit{
		{"settle.go", "broker.RetryID(g.cfg.Service, hop.Origin, hop.Generation, hop.Waits),", "broker.RetryID(g.cfg.Service, hop.Origin, hop.Generation, hop.Waits) + time.Now().String(),"},
	}},
	{name: "a letter's id names the order, not the message", by: "TestGroup_Replay|TestReplay", edits: []edit{
		{"../broker/header.go", "return settleID(\"dlq\", s, o, generation)", "return settleID(\"dlq\", s, o, 0)"},
	}},
	{name: "a replay's id is new each time", by: "TestReplay", edits: []edit{
		{"../broker/header.go", "return \"replay/\" + strconv.FormatUint(seq, 10)", "return \"replay/\" + strconv.FormatUint(seq, 10) + time.Now().String()"},
	}},
	{name: "headers of the broker's are copied", by: "TestForged|TestGroup_Headers", edits: []edit{
		{"../broker/header.go", "return len(key) >= 5 && strings.EqualFold", "return len(key) < 0 && strings.EqualFold"},
	}},
	{name: "headers of new orders are believed", by: "TestForged|TestGroup_Headers", edits: []edit{
		{"lane.go", "(!l.retries || hop.Origin.Seq == 0)", "hop.Origin.Seq == 0"},
	}},
	{name: "one service's retries go to another", by: "TestCrash_AtAny", edits: []edit{
		{"settle.go", "broker.RetrySubject(g.cfg.Service, broker.Tier(v.Tier))", "broker.RetrySubject(order.Payment, broker.Tier(v.Tier))"},
	}},
	{name: "what came often is poison", by: "TestSuspect_", edits: []edit{
		{"suspect.go", "if err == nil && crashes >= poisonFrom {", "if err == nil {"},
	}},
	{name: "a suspect runs without its mark", by: "TestSuspect_", edits: []edit{
		{"suspect.go", "\t\terr = g.raise(waiting, d, crashes+1)\n", ""},
	}},
	{name: "a suspect runs beside others", by: "TestSuspect_", edits: []edit{
		{"suspect.go", "return d.passage.enterAlone(waiting)", "return d.passage.enter(waiting)"},
	}},
	{name: "a mark stays when the handler has returned", by: "TestSuspect_|TestCrash_OfA", edits: []edit{
		{"delivery.go", "\td.group.clear(d, 0)\n", ""},
	}},
	{name: "the drain acknowledges what isn't finished", by: "TestRun_Stop", edits: []edit{
		{"group.go", "\t\t\t\tg.release(d)\n\t\t\t\tg.forget(d)\n", "\t\t\t\tg.ack(d)\n\t\t\t\tg.forget(d)\n"},
	}},
	{name: "what was pulled is handed back with the pull still open", by: "TestRun_Stop", edits: []edit{
		{"pull.go", "\terr := p.stop()\n\tfor m := p.late(); m != nil; m = p.late() {\n\t\thandBack(m)\n\t}\n\treturn err\n", "\tfor m := p.late(); m != nil; m = p.late() {\n\t\thandBack(m)\n\t}\n\treturn p.stop()\n"},
	}},
	{name: "a retry runs before it is due", by: "TestLadder|TestVersions", edits: []edit{
		{"due.go", "\treturn meta.Timestamp.Add(broker.ParseHop(m.Header).RetryDelay)", "\treturn meta.Timestamp.Add(0 * broker.ParseHop(m.Header).RetryDelay)"},
	}},
	{name: "a lane is served the next retry and sleeps until that is due", by: "TestTier", edits: []edit{
		{"due.go", "\tl.group.handBack(m, time.Until(at)-margin)", "\tl.group.handBack(m, time.Until(at))"},
	}},
	{name: "a lane sleeps however long, whoever has gone", by: "TestTier", edits: []edit{
		{"due.go", "pause := l.wait", "pause := time.Hour"},
	}},
	{name: "a lane forgets what it has put off before", by: "TestTier", edits: []edit{
		{"due.go", "append(slices.DeleteFunc(l.later, past), at)", "append(slices.DeleteFunc(l.later[:0], past), at)"},
	}},
	{name: "a tier that the policy doesn't name has no lane", by: "TestLadder|TestVersions", edits: []edit{
		{"lane.go", "range tiers + 1 {", "range len(g.cfg.Policy.Retry) + 1 {"},
	}},
	{name: "retries take what slots they like", by: "TestShare", edits: []edit{
		{"share.go", "(s.held < s.limit || !s.waiting)", "s.limit > 0"},
	}},
	{name: "a tier that has waited too long is last again", by: "TestShare", edits: []edit{
		{"share.go", "slices.MinFunc(s.queue, func(a, b *turn) int { return cmp.Compare(a.last, b.last) })", "s.queue[0]"},
		{"share.go", "\t\"cmp\"\n", ""},
	}},
	{name: "the tier that has just had a place has the next", by: "TestShare", edits: []edit{
		{"share.go", "slices.MinFunc(", "slices.MaxFunc("},
	}},
	{name: "an open breaker is waited for with orders in hand", by: "TestBreaker|TestRejections", edits: []edit{
		{"fresh.go", "\t\tcase <-g.cfg.Bulkhead.Opened():\n", ""},
	}},
	{name: "what the breaker puts off comes before it probes", by: "TestBreaker", edits: []edit{
		{"refusal.go", "max(time.Until(at), slotPause), breakerOpen", "min(time.Until(at), slotPause), breakerOpen"},
	}},
	{name: "more is taken than there are slots", by: "TestGroup_NeverHolds|TestGroup_Takes", edits: []edit{
		{"fresh.go", "(int64(g.slots)*int64(windowTime)+mean/2)/mean", "int64(g.slots)*int64(windowTime)+mean"},
	}},
	{name: "a late result settles", by: "TestGhost", edits: []edit{
		{"delivery.go", "\tg.tally.late()\n", "\tg.tally.late()\n\tdefer g.settle(d, err)\n"},
	}},
	{name: "what is done expires when it comes again", by: "TestCrash_WhatIsDone", edits: []edit{
		{"delivery.go", "if out, settled := d.group.recent.get(d.message); settled {", "if out, settled := d.group.recent.get(d.message); settled && d.name().Deadline.IsZero() {"},
	}},
	{name: "the fallback's answer is stored at each retry", by: "TestGroup_Fallback", edits: []edit{
		{"settle.go", "if e.fallen && d.hop.Waits == 0 {", "if e.fallen {"},
	}},
}
