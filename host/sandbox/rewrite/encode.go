package rewrite

// rewrite encodes the module with what plan decided.
func (m *module) rewrite() *Result {
	m.plan()
	m.code = coder{m: m}
	bodies := writer{make([]byte, 0, len(m.in.b)*3/2)}
	count := uint32(len(m.codes))
	if m.trackMemory {
		count += 4
	}
	bodies.u32(count)
	body := func(b []byte) {
		bodies.u32(uint32(len(b)))
		bodies.raw(b)
	}
	for i := range m.codes {
		body(m.code.rewrite(i))
	}
	if m.trackMemory {
		for _, b := range m.helpers() {
			body(b)
		}
	}

	w := &writer{make([]byte, 0, len(bodies.b)+len(m.in.b)/2)}
	w.raw(m.in.b[:8])
	have := map[byte]section{}
	for _, s := range m.sections {
		have[s.id] = s
	}
	for _, id := range []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 10, 11} {
		s, ok := have[id]
		if id == 10 {
			if ok || count > 0 {
				w.byte(10)
				w.u32(uint32(len(bodies.b)))
				w.raw(bodies.b)
			}
			continue
		}
		if !ok && !m.adds(id) {
			continue
		}
		w.section(id, func(w *writer) {
			if !ok {
				m.encode(id, &reader{b: []byte{0}}, w)
				return
			}
			m.encode(id, &reader{b: m.in.b[:s.end], i: s.start}, w)
		})
	}
	m.nameSection(w)
	m.out.Wasm = w.b
	return &m.out
}

// adds tells whether a section that the module lacks is needed.
func (m *module) adds(id byte) bool {
	switch id {
	case 1, 2, 6, 7:
		return m.metered || m.track
	case 3, 4, 9:
		return m.trackMemory
	}
	return false
}

// encode writes a section: what r has, and what is added.
func (m *module) encode(id byte, r *reader, w *writer) {
	n := uint32(0)
	if id != 8 && id != 12 {
		n = uint32(r.count())
	}
	rest := func() { w.raw(r.b[r.i:]) }
	switch id {
	case 1:
		if !m.metered && !m.track {
			w.u32(n)
			rest()
			return
		}
		w.u32(n + 5)
		rest()
		w.byte(0x60, 1, 0x7e, 1, 0x7e) // refill
		w.byte(0x60, 0, 0)             // arm
		w.byte(0x60, 2, 0x7f, 0x7f, 0) // range
		w.byte(0x60, 1, 0x7f, 1, 0x7f) // grow
		w.byte(0x60, 0, 1, 0x7f)       // collect
	case 2:
		w.u32(n + m.added)
		rest()
		if m.metered {
			w.name(Module)
			w.name(Refill)
			w.byte(0)
			w.u32(m.typeRefill)
		}
	case 3:
		if !m.trackMemory {
			w.u32(n)
			rest()
			return
		}
		w.u32(n + 4)
		rest()
		for _, t := range []uint32{m.typeRange, m.typeGrow, m.typeArm, m.typeCollect} {
			w.u32(t)
		}
	case 4:
		m.encodeTables(n, w)
	case 5:
		w.u32(n)
		for _, l := range m.memories[m.importedMemories:] {
			w.limits(l.bounded(m.options.MaxPages))
		}
	case 6:
		m.encodeGlobals(n, r, w)
	case 7:
		m.encodeExports(n, r, w)
	case 8:
		w.u32(m.function(r.u32()))
	case 9:
		if m.trackMemory {
			w.u32(n + 1)
		} else {
			w.u32(n)
		}
		for range n {
			m.element(r, w)
		}
		if m.trackMemory { // declared, so that arm may name itself
			w.byte(3, 0, 1)
			w.u32(m.arm)
		}
	case 11:
		w.u32(n)
		for range n {
			m.data(r, w)
		}
	case 12:
		rest()
	}
}

// bounded is a limit with its most lowered.
func (l limits) bounded(most uint32) limits {
	if most == 0 || l.flags&1 != 0 && l.max <= most {
		return l
	}
	return limits{l.flags | 1, l.min, most}
}

func (m *module) encodeTables(n uint32, w *writer) {
	if m.trackMemory {
		n++
	}
	w.u32(n)
	for _, t := range m.tables[m.importedTables:] {
		w.byte(t.kind)
		w.limits(t.bounded(m.options.MaxTable))
	}
	if m.trackMemory {
		w.byte(0x70)
		w.limits(limits{1, m.out.Chunks + 1, m.out.Chunks + 1})
	}
}

func (m *module) encodeGlobals(n uint32, r *reader, w *writer) {
	if m.metered {
		n++
	}
	if m.track {
		n += 3
	}
	w.u32(n)
	for range m.globals[m.importedGlobals:] {
		w.byte(r.byte(), r.byte())
		m.constant(r, w)
	}
	if m.metered {
		w.byte(0x7e, 1, 0x42, 0, 0x0b)
	}
	if m.track {
		for range 3 {
			w.byte(0x7f, 1, 0x41, 0, 0x0b)
		}
	}
}

func (m *module) encodeExports(n uint32, r *reader, w *writer) {
	var own writer
	theirs := n
	add := func(name string, kind byte, index uint32) {
		n++
		own.name(name)
		own.byte(kind)
		own.u32(index)
	}
	if m.metered {
		add(Fuel, 3, m.fuel)
	}
	if m.track {
		add(Stale, 3, m.stale)
		add(Hidden, 3, m.hidden)
		add(Refused, 3, m.refused)
		for _, g := range m.out.Globals {
			add(GlobalName(g.Index), 3, g.Index)
		}
	}
	if m.trackMemory {
		add(Arm, 0, m.arm)
		add(Collect, 0, m.collect)
	}
	w.u32(n)
	for range theirs {
		w.name(r.name())
		kind, index := r.byte(), r.u32()
		if kind == 0 {
			index = m.function(index)
		}
		w.byte(kind)
		w.u32(index)
	}
	w.raw(own.b)
}

// helpers are the bodies of the functions that tracking adds.
func (m *module) helpers() [][]byte {
	c := &coder{m: m}
	body := func(locals int, fill func()) []byte {
		c.w = writer{}
		if locals == 0 {
			c.w.byte(0)
		} else {
			c.w.byte(1, byte(locals), 0x7f)
		}
		fill()
		c.w.byte(0x0b)
		return c.w.b
	}
	get := func(i uint32) { c.index(0x20, i) }
	set := func(i uint32) { c.index(0x21, i) }
	op := func(b ...byte) { c.w.byte(b...) }
	markRange := body(1, func() { // (begin, length), last: the local 2
		get(1)
		op(0x45, 0x04, 0x40, 0x0f, 0x0b) // eqz if return
		get(0)
		get(1)
		op(0x6a)
		c.i32(1)
		op(0x6b)
		set(2)
		get(2)
		get(0)
		op(0x49, 0x04, 0x40, 0x0f, 0x0b) // beyond 4 GiB: the operation will trap
		get(0)
		c.i32(ChunkBits)
		op(0x76)
		set(0)
		get(2)
		c.i32(ChunkBits)
		op(0x76)
		set(2)
		get(2)
		c.i32(int32(m.maskChunks))
		op(0x4b, 0x04, 0x40, 0x0f, 0x0b) // beyond the memory: likewise
		op(0x03, 0x40)
		get(0)
		op(0xd0, 0x70)
		c.index(0x26, m.marks)
		get(0)
		c.i32(1)
		op(0x6a)
		c.index(0x22, 0)
		get(2)
		op(0x4d, 0x0d, 0, 0x0b) // le_u br_if
	})
	grow := body(1, func() { // (pages) -> old size; got: the local 1
		get(0)
		c.index(0x23, m.hidden)
		op(0x4d, 0x04, 0x40)
		op(0x3f, 0)
		c.index(0x23, m.hidden)
		op(0x6b)
		c.index(0x23, m.hidden)
		get(0)
		op(0x6b)
		c.index(0x24, m.hidden)
		op(0x0f, 0x0b)
		get(0)
		c.index(0x23, m.hidden)
		op(0x6b, 0x40, 0)
		c.index(0x22, 1)
		c.i32(-1)
		op(0x46, 0x04, 0x40)
		get(0)
		c.index(0x24, m.refused)
		c.i32(-1)
		op(0x0f, 0x0b)
		get(1)
		c.index(0x23, m.hidden)
		op(0x6b)
		c.i32(0)
		c.index(0x24, m.hidden)
	})
	unmarked := func() {
		c.i32(int32(m.out.Chunks))
		c.index(0x25, m.marks)
	}
	arm := body(0, func() {
		// What stands where there is no mark is not left to an active segment:
		// wazero applies none after one that does not fit, and goes on.
		unmarked()
		op(0xd1, 0x04, 0x40) // ref.is_null if
		c.i32(int32(m.out.Chunks))
		c.index(0xd2, m.arm)
		c.index(0x26, m.marks)
		op(0x0b)
		c.i32(0)
		unmarked()
		c.i32(int32(m.out.Chunks))
		op(0xfc, 0x11)
		c.w.u32(m.marks)
	})
	const at, count, end = 0, 1, 2
	look := func(chunk func()) { // takes a mark away and notes it
		chunk()
		c.index(0x25, m.marks)
		op(0xd1, 0x04, 0x40)
		chunk()
		unmarked()
		c.index(0x26, m.marks)
		get(count)
		c.i32(2)
		op(0x74)
		chunk()
		op(0x36, 2, 0)
		get(count)
		c.i32(1)
		op(0x6a)
		set(count)
		op(0x0b)
	}
	collect := body(3, func() { // () -> count
		op(0x3f, 0)
		c.i32(16 - ChunkBits)
		op(0x74)
		c.index(0x22, end)
		op(0x45, 0x04, 0x40)
		c.i32(0)
		op(0x0f, 0x0b)
		// The last chunk stands for the first, too.
		get(end)
		c.i32(int32(m.out.Chunks))
		op(0x49, 0x04, 0x40)
		look(func() { c.i32(int32(m.maskChunks)) })
		op(0x0b)
		op(0x03, 0x40)
		const unrolled = 8 // a memory has a multiple of it
		for n := range int32(unrolled) {
			look(func() {
				get(at)
				if n > 0 {
					c.i32(n)
					op(0x6a)
				}
			})
		}
		get(at)
		c.i32(unrolled)
		op(0x6a)
		c.index(0x22, at)
		get(end)
		op(0x49, 0x0d, 0, 0x0b)
		get(count)
	})
	return [][]byte{markRange, grow, arm, collect}
}

// nameSection keeps the names of functions, modules and locals, for stack
// traces. Names that can't be read are dropped: they mean nothing to a guest,
// but the engine would refuse the module for them.
func (m *module) nameSection(w *writer) {
	if m.names.end == 0 {
		return
	}
	var body writer
	func() {
		keep := 0
		defer func() {
			if p := recover(); p != nil {
				if _, ok := p.(*Error); !ok {
					panic(p)
				}
				body.b = body.b[:keep]
			}
		}()
		body.name("name")
		keep = len(body.b)
		r := &reader{b: m.in.b[:m.names.end], i: m.names.start}
		for last := -1; r.i < m.names.end; {
			id := r.byte()
			sub := &reader{b: r.bytes()}
			if int(id) <= last {
				r.fail("the names %d stand in the wrong place, or twice", id)
			}
			last = int(id)
			switch id {
			case 0:
				body.section(id, func(w *writer) {
					w.name(sub.name())
					sub.ended()
				})
			case 1, 2:
				body.section(id, func(w *writer) {
					n := sub.count()
					w.u32(uint32(n))
					for range n {
						f := sub.u32()
						m.checkFunction(sub, f)
						w.u32(m.function(f))
						if id == 1 {
							w.name(sub.name())
							continue
						}
						k := sub.count()
						w.u32(uint32(k))
						for range k {
							w.u32(sub.u32())
							w.name(sub.name())
						}
					}
					sub.ended()
				})
			}
			keep = len(body.b)
		}
	}()
	w.byte(0)
	w.u32(uint32(len(body.b)))
	w.raw(body.b)
}
