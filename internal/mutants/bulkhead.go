package main

// bulkheadMutants are the mistakes that bulkheads are made with: the first
// twelve have been seen in other libraries or in a draft of this one.
var bulkheadMutants = []mutant{
	{"the slot is released at the timeout", []edit{
		{"do.go", "\tif !mine {\n\t\tvar zero T", "\tif !mine {\n\t\tb.release(s)\n\t\tvar zero T"},
		{"do.go", "\t\t\tdefer c.leave(s)\n", ""},
	}},
	{"the context is not looked at again after a wait", []edit{
		{"wait.go", "\tif err := b.stop(ctx); err != nil {\n\t\tb.release(s)\n\t\treturn nil, err\n\t}\n\treturn s, nil", "\treturn s, nil"},
	}},
	{"a credit can be spent twice", []edit{
		{"credit.go", "if !s.credit.CompareAndSwap(uint64(c.gen)<<1|1, uint64(c.gen)<<1) {", "if s.credit.Load()>>1 != uint64(c.gen) {"},
	}},
	{"a panic keeps the slot", []edit{
		{"do.go", "\t\t\terr = died(nil, recover())\n\t\t\tb.finish(ctx, s, err, start)", "\t\t\terr = died(nil, recover())"},
	}},
	{"a call from before the change of state counts", []edit{
		{"breaker.go", "\tif gen, _ := br.load(); gen != p.gen {\n\t\treturn\n\t}\n\tslow", "\tslow"},
		{"breaker.go", "\t\tgen, s := br.load()\n\t\tif gen != p.gen {\n\t\t\treturn\n\t\t}", "\t\t_, s := br.load()"},
		{
			"breaker.go", "\t\ti := br.find(p)\n\t\tif i < 0 {\n\t\t\treturn\n\t\t}\n\t\tbr.probes = slices.Delete(br.probes, i, i+1)",
			"\t\tif i := br.find(p); i >= 0 {\n\t\t\tbr.probes = slices.Delete(br.probes, i, i+1)\n\t\t}",
		},
	}},
	{"a probe has no lease", []edit{
		{"breaker.go", "if p.lease > now {", "if p.lease > now || p.serial > 0 {"},
	}},
	{"a token is not given back", []edit{
		{"rate.go", "m.limiter.AllowN(m.now(), -1)", "m.limiter.AllowN(m.now(), 0)"},
	}},
	{"the queue has no bound", []edit{
		{"wait.go", "\tdefault:\n\t\treturn nil, b.reject(Full)", "\tdefault:\n\t\treturn b.receiveSlot(ctx, b.toCaller, w.start(b))"},
	}},
	{"a hook is called under the lock", []edit{
		{"breaker.go", "\tbr.mu.Unlock()\n\n\tfor _, c := range changes {\n\t\tbr.changed(c.from, c.to)\n\t}", "\tfor _, c := range changes {\n\t\tbr.changed(c.from, c.to)\n\t}\n\tbr.mu.Unlock()"},
	}},
	{"a task that has waited too long is run", []edit{
		{"task.go", "limited && left < 0", "limited && left < -time.Hour"},
		{"task.go", "import \"context\"", "import (\n\t\"context\"\n\t\"time\"\n)"},
	}},
	{"the verdict is read from the slot, not from the reply", []edit{
		{"do.go", "\tif !mine {\n\t\tvar zero T", "\tmine = s.run.Load() != &c.run\n\tif !mine {\n\t\tvar zero T"},
	}},
	{"a ghost gives its slot back with the old reply channel", []edit{
		{"do.go", "\t\t\ts.reply = make(chan bool, 1) // the old", "\t\t\t// the old"},
	}},

	{"an alarm takes the next run for the one it was set for", []edit{
		{"slot.go", "left > 0 {", "left > int64(r.b.cfg.Timeout) {"},
	}},
	{"an alarm that rang while it was set is taken for one that will ring", []edit{
		{"slot.go", "s.alarm = time.AfterFunc(time.Duration(after), s.ring)", "s.alarm = time.AfterFunc(time.Duration(after), s.ring)\n\t\ts.armed.Store(true)"},
	}},
	{"a done context is admitted", []edit{
		{"do.go", "!b.closed.Load() && ctx.Err() == nil {", "!b.closed.Load() {"},
		{"wait.go", "b.closed.Load() || b.breaker != nil || ctx.Err() != nil {", "b.closed.Load() || b.breaker != nil {"},
	}},
	{"one way in is served before the others", []edit{
		{"slot.go", "if b.withdraw(s) || b.handOn(s) {", "if b.withdraw(s) || b.dispatch(s) {"},
	}},
	{"new slots don't go to queued tasks", []edit{
		{"size.go", "\t\tb.release(s)\n\t}\n\tb.match()", "\t\tb.free <- s\n\t}"},
	}},
	{"a slot that is owed comes back", []edit{
		{"slot.go", "\tif b.watch.Load() > 0 {\n\t\tb.releaseTo(s)\n\t\treturn\n\t}\n", ""},
		{"slot.go", "\tif b.watch.Load() > 0 {\n\t\tb.match()\n\t}", "\tif len(b.tasks) > 0 {\n\t\tb.match()\n\t}"},
	}},
	{"a forecast that refuses everybody is never tried", []edit{
		{"forecast.go", "return now < by && now-heard >= by-now && f.heard.CompareAndSwap(heard, now)", "return now < by && now < heard"},
	}},
	{"failures make the forecast shorter", []edit{
		{"forecast.go", "case !whole && diff <= 0:", "case !whole && diff <= 0 && w == 0:"},
	}},
	{"the forecast is not asked again when the turn has come", []edit{
		{"wait.go", "if by != 0 && !b.forecast.fits(b.now(), by) {", "if by < 0 {"},
	}},
	{"slow calls are not counted", []edit{
		{"window.go", "one.slow = 1", "one.slow = 0"},
	}},
	{"an open breaker is quiet for ever", []edit{
		{"breaker.go", "func() { br.quiet.Store(false) }", "func() {}"},
	}},
	{"a ghost's age begins anew when it returns", []edit{
		{"run.go", "if r.state.Load() != running {", "if r.state.Load() == settled {"},
	}},
	{"the context of a run knows no caller", []edit{
		{"context.go", "if r.owner == nil && r.parent.Done() != nil {", "if r.owner == nil && r.parent == nil {"},
	}},
	{"Drain cancels without its cause", []edit{
		{"context.go", "\tcase drained:\n\t\tby = s.b.base", "\tcase drained:\n\t\tby = s.b.ended"},
	}},
}
