package bulkhead

// assignment is a run of a task, from its acceptance on.
type assignment struct {
	run
	task   Task
	by     int64 // deadline of Submit's context, for the admission; 0: none
	queued bool  // has come through the queue: not admitted yet
	late   error // a ghost's result, for whoever calls Late
}

func (b *Bulkhead) assign(t Task) *assignment {
	a := &assignment{task: t}
	a.b, a.parent, a.owner = b, b.base, a
	return a
}

// work runs a task on its slot's own goroutine.
func (a *assignment) work(s *slot) {
	if a.queued {
		if err := a.admit(s); err != nil {
			defer a.b.release(s)
			a.b.tellDone(s, a.task, err)
			return
		}
	}
	a.execute(s, s)
}

// execute runs a task in s. The goroutine is resident's own, or with nil that
// of somebody who called Credit.Run.
func (a *assignment) execute(s, resident *slot) {
	var err error
	returned := false
	defer func() {
		if !returned {
			err = died(resident, recover())
		}
		a.end(s, resident, err)
	}()
	a.begin(s)
	err = a.task.Run(&a.run)
	returned = true
}

// end tells what became of a task whose Run has returned, and gives its slot
// back.
func (a *assignment) end(s, resident *slot, err error) {
	defer a.leave(s) // whatever Done and Late do
	defer a.settle(s, resident, err)
	if a.outOfTime() {
		a.timeOut(resident)
	}
}

// settle tells the task, unless its timeout did, or else buries the ghost.
func (a *assignment) settle(s, resident *slot, err error) {
	b := a.b
	if a.state.CompareAndSwap(running, settled) {
		a.over()
		s.count(err)
		b.learn(b.base, a.pass, err, b.took(a.start))
		b.tellDone(resident, a.task, err)
		return
	}
	a.late = err
	defer a.bury(err)
	if !a.state.CompareAndSwap(abandoned, ended) { // told
		b.tellLate(resident, a)
	}
}

// timedOut calls Done, and Late too if the function has returned meanwhile.
func (a *assignment) timedOut(resident *slot) {
	defer func() {
		if !a.state.CompareAndSwap(abandoned, told) {
			a.b.tellLate(resident, a)
		}
	}()
	a.b.tellDone(resident, a.task, a.b.timedOut)
}

// tellDone calls Done. Resident is the slot on whose own goroutine that
// happens, if it is one.
func (b *Bulkhead) tellDone(resident *slot, t Task, err error) {
	returned := false
	defer b.contain(resident, &returned)
	t.Done(err)
	returned = true
}

// tellLate calls Late, if the task has it.
func (b *Bulkhead) tellLate(resident *slot, a *assignment) {
	t, ok := a.task.(LateTask)
	if !ok {
		return
	}
	returned := false
	defer b.contain(resident, &returned)
	t.Late(a.late)
	returned = true
}

// contain is deferred around Done and Late.
func (b *Bulkhead) contain(resident *slot, returned *bool) {
	if *returned {
		return
	}
	value := recover()
	err := died(resident, value)
	b.counts.panics.Add(1)
	if h := b.cfg.Hooks.Panicked; h != nil {
		h(err)
	} else if value != nil {
		panic(value)
	}
}
