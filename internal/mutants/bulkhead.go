package main

// bulkheadMutants are the mistakes that bulkheads are made with: the first
// twelve have been seen in other libraries or in a draft of this one.
var bulkheadMutants = []mutant{
	{name: "the slot is released at the timeout", edits: []edit{
		{"do.go", "\tif !mine {\n\t\tvar zero T", "\tif !mine {\n\t\tb.release(s)\n\t\tvar zero T"},
		{"do.go", "\t\t\tdefer c.leave(s)\n", ""},
	}},
	{name: "the context is not looked at again after a wait", edits: []edit{
		{"wait.go", "\tif err := b.stop(ctx); err != nil {\n\t\tb.release(s)\n\t\treturn nil, err\n\t}\n\treturn s, nil", "\treturn s, nil"},
	}},
	{name: "a credit can be spent twice", edits: []edit{
		{"credit.go", "if !s.credit.CompareAndSwap(uint64(c.gen)<<1|1, uint64(c.gen)<<1) {", "if s.credit.Load()>>1 != uint64(c.gen) {"},
	}},
	{name: "a panic keeps the slot", edits: []edit{
		{"do.go", "\t\t\terr = died(nil, recover())\n\t\t\tb.finish(ctx, s, err, start)", "\t\t\terr = died(nil, recover())"},
	}},
	{name: "a call from before the change of state counts", edits: []edit{
		{"breaker.go", "\tif gen, _ := br.load(); gen != p.gen {\n\t\treturn\n\t}\n\tslow", "\tslow"},
		{"breaker.go", "\t\tgen, s := br.load()\n\t\tif gen != p.gen {\n\t\t\treturn\n\t\t}", "\t\t_, s := br.load()"},
		{
			"breaker.go", "\t\ti := br.find(p)\n\t\tif i < 0 {\n\t\t\treturn\n\t\t}\n\t\tbr.probes = slices.Delete(br.probes, i, i+1)",
			"\t\tif i := br.find(p); i >= 0 {\n\t\t\tbr.probes = slices.Delete(br.probes, i, i+1)\n\t\t}",
		},
	}},
	{name: "a probe has no lease", edits: []edit{
		{"breaker.go", "if p.lease > now {", "if p.lease > now || p.serial > 0 {"},
	}},
	{name: "a token is not given back", edits: []edit{
		{"rate.go", "m.limiter.AllowN(m.now(), -1)", "m.limiter.AllowN(m.now(), 0)"},
	}},
	{name: "the queue has no bound", edits: []edit{
		{"wait.go", "\tdefault:\n\t\treturn nil, b.reject(Full)", "\tdefault:\n\t\treturn b.receiveSlot(ctx, b.toCaller, w.start(b))"},
	}},
	{name: "a hook is called under the lock", edits: []edit{
		{"breaker.go", "\tbr.mu.Unlock()\n\n\tfor _, c := range changes {\n\t\tbr.changed(c.from, c.to)\n\t}", "\tfor _, c := range changes {\n\t\tbr.changed(c.from, c.to)\n\t}\n\tbr.mu.Unlock()"},
	}},
	{name: "a task that has waited too long is run", edits: []edit{
		{"task.go", "limited && left < 0", "limited && left < -time.Hour"},
		{"task.go", "import \"context\"", "import (\n\t\"context\"\n\t\"time\"\n)"},
	}},
	{name: "the verdict is read from the slot, not from the reply", edits: []edit{
		{"do.go", "\tif !mine {\n\t\tvar zero T", "\tmine = s.run.Load() != &c.run\n\tif !mine {\n\t\tvar zero T"},
	}},
	{name: "a ghost gives its slot back with the old reply channel", edits: []edit{
		{"do.go", "\t\t\ts.reply = make(chan bool, 1) // the old", "\t\t\t// the old"},
	}},

	{name: "an alarm takes the next run for the one it was set for", edits: []edit{
		{"slot.go", "left > 0 {", "left > int64(r.b.cfg.Timeout) {"},
	}},
	{name: "an alarm that rang while it was set is taken for one that will ring", edits: []edit{
		{"slot.go", "s.alarm = time.AfterFunc(time.Duration(after), s.ring)", "s.alarm = time.AfterFunc(time.Duration(after), s.ring)\n\t\ts.armed.Store(true)"},
	}},
	{name: "a done context is admitted", edits: []edit{
		{"do.go", "!b.closed.Load() && ctx.Err() == nil {", "!b.closed.Load() {"},
		{"wait.go", "b.closed.Load() || b.breaker != nil || ctx.Err() != nil {", "b.closed.Load() || b.breaker != nil {"},
	}},
	{name: "one way in is served before the others", edits: []edit{
		{"slot.go", "if b.withdraw(s) || b.handOn(s) {", "if b.withdraw(s) || b.dispatch(s) {"},
	}},
	{name: "new slots don't go to queued tasks", edits: []edit{
		{"size.go", "\t\tb.release(s)\n\t}\n\tb.match()", "\t\tb.free <- s\n\t}"},
	}},
	{name: "a slot that is owed comes back", edits: []edit{
		{"slot.go", "\tif b.watch.Load() > 0 {\n\t\tb.releaseTo(s)\n\t\treturn\n\t}\n", ""},
		{"slot.go", "\tif b.watch.Load() > 0 {\n\t\tb.match()\n\t}", "\tif len(b.tasks) > 0 {\n\t\tb.match()\n\t}"},
	}},
	{name: "a forecast that refuses everybody is never tried", edits: []edit{
		{"forecast.go", "return now < by && now-heard >= by-now && f.heard.CompareAndSwap(heard, now)", "return now < by && now < heard"},
	}},
	{name: "failures make the forecast shorter", edits: []edit{
		{"forecast.go", "case !whole && diff <= 0:", "case !whole && diff <= 0 && w == 0:"},
	}},
	{name: "the forecast is not asked again when the turn has come", edits: []edit{
		{"wait.go", "if by != 0 && !b.forecast.fits(b.now(), by) {", "if by < 0 {"},
	}},
	{name: "slow calls are not counted", edits: []edit{
		{"window.go", "one.slow = 1", "one.slow = 0"},
	}},
	{name: "an open breaker is quiet for ever", edits: []edit{
		{"breaker.go", "func() { br.quiet.Store(false) }", "func() {}"},
	}},
	{name: "a ghost's age begins anew when it returns", edits: []edit{
		{"run.go", "if r.state.Load() != running {", "if r.state.Load() == settled {"},
	}},
	{name: "the context of a run knows no caller", edits: []edit{
		{"context.go", "if r.owner == nil && r.parent.Done() != nil {", "if r.owner == nil && r.parent == nil {"},
	}},
	{name: "Drain cancels without its cause", edits: []edit{
		{"context.go", "\tcase drained:\n\t\tby = s.b.base", "\tcase drained:\n\t\tby = s.b.ended"},
	}},
}
