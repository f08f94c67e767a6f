package rewrite

// opcode is an instruction's; those behind a prefix have it in the upper bits.
type opcode uint32

const (
	opUnreachable  opcode = 0x00
	opNop          opcode = 0x01
	opBlock        opcode = 0x02
	opLoop         opcode = 0x03
	opIf           opcode = 0x04
	opElse         opcode = 0x05
	opEnd          opcode = 0x0b
	opBr           opcode = 0x0c
	opBrIf         opcode = 0x0d
	opBrTable      opcode = 0x0e
	opReturn       opcode = 0x0f
	opCall         opcode = 0x10
	opCallIndirect opcode = 0x11
	opReturnCall   opcode = 0x12
	opReturnCallIn opcode = 0x13
	opLocalGet     opcode = 0x20
	opLocalSet     opcode = 0x21
	opLocalTee     opcode = 0x22
	opGlobalGet    opcode = 0x23
	opGlobalSet    opcode = 0x24
	opTableGet     opcode = 0x25
	opTableSet     opcode = 0x26
	opI32Store     opcode = 0x36
	opI64Store32   opcode = 0x3e
	opMemorySize   opcode = 0x3f
	opMemoryGrow   opcode = 0x40
	opI32Const     opcode = 0x41
	opI64Const     opcode = 0x42
	opWrapI64      opcode = 0xa7
	opRefFunc      opcode = 0xd2

	opMemoryInit opcode = 0xfc08
	opDataDrop   opcode = 0xfc09
	opMemoryCopy opcode = 0xfc0a
	opMemoryFill opcode = 0xfc0b
	opTableInit  opcode = 0xfc0c
	opElemDrop   opcode = 0xfc0d
	opTableCopy  opcode = 0xfc0e
	opTableGrow  opcode = 0xfc0f
	opTableSize  opcode = 0xfc10
	opTableFill  opcode = 0xfc11

	opV128Store  opcode = 0xfd0b
	opStoreLane8 opcode = 0xfd58
	opStoreLast  opcode = 0xfd5b
)

// instr is a decoded instruction.
type instr struct {
	op         opcode
	start, end int32
	// a is the first immediate: an index, the offset of a memarg, the lower
	// half of a constant.
	a uint32
	// point is the number of the charge point that the instruction opens, plus
	// one; 0 for none.
	point int32
}

// point is a place where fuel is counted: a function entry, a loop header, or
// a branch that is dear enough.
type point struct {
	cost   int64
	parent int32
	check  bool // below zero, the host is called
	keep   bool // entry or loop: never folded into the parent
	// assigned are the locals that a loop's body assigns, of those that are
	// followed.
	assigned localSet
}

// localSet has a bit for each of the locals that are followed.
type localSet [mostTracked / 64]uint64

const (
	// foldBelow is the cost from which a branch is charged where it stands.
	// Below, it is charged with what dominates it: fuel then counts it whether
	// it was taken or not, and never too little. On a Go guest 4 costs no more
	// time than 1000 does, and counts a third of what 16 does.
	foldBelow = 4
	// shortPrologue is the cost up to which the way from a function's entry
	// to a loop header is charged at the header.
	shortPrologue = 24
	// bulkShift is the number of bytes, as a power of two, that a bulk
	// operation moves for one unit.
	bulkShift = 4
	// growCost is what one page of memory costs.
	growCost = 1024
	// mostLocals is what wazero and the engines of the web take.
	mostLocals = 50_000
	// wazero's compiler takes time that grows with more than the square of
	// these, and can't be stopped within a function.
	mostNested, mostLoops = 10_000, 1_000
	// mostValues is how many values the calls, blocks and branches of a
	// function hand on beside the first of each: it takes memory for each.
	mostValues = 1_000_000
)

// frame is an open block while decoding.
type frame struct {
	op       opcode
	seg      int32 // the segment that opened it
	targeted bool
	loop     int32 // the point of a loop
	arity    int   // how many values a branch there hands on
}

// coder rewrites function bodies; its buffers are used again.
type coder struct {
	m       *module
	r       reader
	instrs  []instr
	points  []point
	frames  []frame
	w       writer
	out     writer
	leaf    bool
	params  int
	locals  int
	values  int    // handed on so far, as mostValues counts them
	types   []byte // of the first mostTracked locals
	tracker tracker
	temps   [numTemps]uint32
	need    [numTemps]bool
	order   []tempKind
}

// tempKind is what a local that we add is for.
type tempKind int

const (
	tempFuel  tempKind = iota // i64
	tempCount                 // i32: a length, a chunk
	tempAddr                  // i32
	tempSrc                   // i32
	tempI32
	tempI64
	tempF32
	tempF64
	tempV128
	numTemps
)

var tempType = [numTemps]byte{0x7e, 0x7f, 0x7f, 0x7f, 0x7f, 0x7e, 0x7d, 0x7c, 0x7b}

// rewrite returns the new body of the function n of those defined.
func (c *coder) rewrite(n int) []byte {
	m := c.m
	body := m.codes[n]
	c.r = reader{b: m.in.b[:body.end], i: body.start}
	t := m.types[m.functions[int(m.importedFuncs)+n]]
	c.params = len(t.params)
	c.locals = c.params
	c.types = append(c.types[:0], t.params[:min(len(t.params), mostTracked)]...)
	groups := c.r.count()
	localsStart := c.r.i
	for range groups {
		n := c.r.u32()
		t := c.r.valueType()
		if uint64(c.locals)+uint64(n) > mostLocals {
			c.r.limit("locals", "a function has more than %d locals", mostLocals)
		}
		c.locals += int(n)
		c.types = extend(c.types, t, int(n))
	}
	localsEnd := c.r.i
	c.decode(len(t.results))
	c.fold()

	c.w.b = c.w.b[:0]
	c.need, c.order = [numTemps]bool{}, c.order[:0]
	c.emit()
	c.out.b = c.out.b[:0]
	c.out.u32(uint32(groups + len(c.order)))
	c.out.raw(m.in.b[localsStart:localsEnd])
	for _, t := range c.order {
		c.out.byte(1, tempType[t])
	}
	if c.locals+len(c.order) > mostLocals {
		c.r.limit("locals", "a function has %d locals; with what is added that is more than %d", c.locals, mostLocals)
	}
	c.out.raw(c.w.b)
	return c.out.b
}

// decode reads the instructions and sums their cost per segment. Within one
// visit of a loop's header control only goes forward, so each segment between
// headers runs at most once for each charge of what dominates it. The function
// has so many results.
func (c *coder) decode(results int) {
	m, r := c.m, &c.r
	c.instrs, c.points, c.frames = c.instrs[:0], c.points[:0], c.frames[:0]
	c.leaf, c.values = true, 0
	c.points = append(c.points, point{parent: -1, keep: true})
	c.frames = append(c.frames, frame{op: opBlock, arity: results})
	cur := int32(0)
	var loops []int32
	targets := 0
	open := func(parent int32) int32 {
		c.points = append(c.points, point{parent: parent})
		return int32(len(c.points) - 1)
	}
	for len(c.frames) > 0 {
		if len(c.frames) > mostNested || len(loops) > mostLoops {
			r.limit("nesting", "a function nests more than %d blocks or %d loops", mostNested, mostLoops)
		}
		start := r.i
		in := instr{op: opcode(r.byte()), start: int32(start)}
		cost := int64(1)
		switch op := in.op; {
		case op == opNop:
			cost = 0
		case op == opBlock:
			_, arity := c.blockType()
			c.frames = append(c.frames, frame{op: op, seg: cur, arity: arity})
			cost = 0
		case op == opLoop:
			arity, _ := c.blockType()
			seg := cur
			cur = open(cur)
			c.points[cur].keep, c.points[cur].check = true, true
			in.point = cur + 1
			c.frames = append(c.frames, frame{op: op, seg: seg, loop: cur, arity: arity})
			loops = append(loops, cur)
		case op == opIf:
			_, arity := c.blockType()
			c.points[cur].cost++
			c.frames = append(c.frames, frame{op: op, seg: cur, arity: arity})
			cur = open(cur)
			in.point = cur + 1
			cost = 0
		case op == opElse:
			f := &c.frames[len(c.frames)-1]
			if f.op != opIf {
				r.fail("an else without an if")
			}
			f.op = opElse
			cur = open(f.seg)
			in.point = cur + 1
			cost = 0
		case op == opEnd:
			f := c.frames[len(c.frames)-1]
			c.frames = c.frames[:len(c.frames)-1]
			cost = 0
			if f.op == opLoop {
				inner := loops[len(loops)-1]
				if loops = loops[:len(loops)-1]; len(loops) > 0 {
					outer := loops[len(loops)-1]
					for i, bits := range c.points[inner].assigned {
						c.points[outer].assigned[i] |= bits
					}
				}
			}
			if len(c.frames) > 0 && (f.op != opBlock || f.targeted) {
				cur = open(f.seg)
				in.point = cur + 1
			}
		case op == opBr:
			c.target(r.u32())
		case op == opBrIf:
			c.target(r.u32())
			c.points[cur].cost++
			cur = open(cur)
			in.point = cur + 1
			cost = 0
		case op == opBrTable:
			n := r.count()
			targets += n
			if most := m.options.MaxTargets; most > 0 && targets > most {
				r.limit("targets", "the br_tables of a function have %d targets; the limit is %d", targets, most)
			}
			for range n + 1 {
				c.target(r.u32())
			}
		case op == opUnreachable, op == opReturn, op == 0x1a, op == 0x1b:
		case op == opCall, op == opReturnCall:
			in.a = r.u32()
			m.checkFunction(r, in.a)
			c.handOn(len(m.types[m.functions[in.a]].results))
			c.leaf = false
			cost = 3
		case op == opCallIndirect, op == opReturnCallIn:
			in.a = m.typeIndex(r)
			c.handOn(len(m.types[in.a].results))
			if i := r.u32(); int(i) >= len(m.tables) {
				r.fail("there is no table %d", i)
			}
			c.leaf = false
			cost = 5
		case op == 0x1c: // select with types
			r.valueTypes()
		case op == opLocalGet, op == opLocalSet, op == opLocalTee:
			in.a = r.u32()
			if int(in.a) >= c.locals {
				r.fail("there is no local %d", in.a)
			}
			if op != opLocalGet && in.a < mostTracked && len(loops) > 0 {
				c.points[loops[len(loops)-1]].assigned[in.a/64] |= 1 << (in.a % 64)
			}
		case op == opGlobalGet, op == opGlobalSet:
			in.a = r.u32()
			if int(in.a) >= len(m.globals) {
				r.fail("there is no global %d", in.a)
			}
			if op == opGlobalSet && !m.mutable[in.a] {
				r.fail("the global %d can't be set", in.a)
			}
		case op == opTableGet, op == opTableSet:
			m.tableIndex(r)
		case op >= 0x28 && op <= opI64Store32:
			if align := r.u32(); align >= 32 {
				r.fail("the alignment 2^%d is not supported", align)
			}
			in.a = r.u32()
		case op == opMemorySize, op == opMemoryGrow:
			if r.byte() != 0 {
				r.fail("there is no other memory")
			}
		case op == opI32Const:
			in.a = uint32(r.s32())
		case op == opI64Const:
			in.a = uint32(r.s64())
		case op == 0x43:
			r.skip(4)
		case op == 0x44:
			r.skip(8)
		case op >= 0x45 && op <= 0xc4: // numbers
		case op == 0xd0:
			if t := r.byte(); t != 0x70 && t != 0x6f {
				r.fail("a null of the type %#x is not supported", t)
			}
		case op == 0xd1:
		case op == opRefFunc:
			in.a = r.u32()
			m.checkFunction(r, in.a)
		case op == 0xfc:
			cost = c.misc(&in)
		case op == 0xfd:
			c.vector(&in)
		case op == 0xfe:
			r.fail("threads are not supported")
		default:
			r.fail("the instruction %#x is not supported", uint32(op))
		}
		c.points[cur].cost += cost
		in.end = int32(r.i)
		c.instrs = append(c.instrs, in)
	}
	if r.i != len(r.b) {
		r.fail("the function does not end where it says")
	}
}

func (c *coder) target(depth uint32) {
	if uint64(depth) >= uint64(len(c.frames)) {
		c.r.fail("a branch to the depth %d leaves the function", depth)
	}
	f := &c.frames[len(c.frames)-1-int(depth)]
	f.targeted = true
	c.handOn(f.arity)
}

// handOn counts values that one instruction hands on. The first is for free:
// the instruction has bytes enough to pay for it.
func (c *coder) handOn(n int) {
	if c.values += max(0, n-1); c.values > mostValues {
		c.r.limit("values", "the calls, blocks and branches of a function hand on more than %d values beside the first of each", mostValues)
	}
}

func (c *coder) blockType() (params, results int) {
	m, r := c.m, &c.r
	start := r.i
	switch b := r.byte(); b {
	case 0x40:
		return 0, 0
	case 0x7f, 0x7e, 0x7d, 0x7c, 0x7b, 0x70, 0x6f:
		return 0, 1
	}
	r.i = start
	i := r.s33()
	if i < 0 || i >= int64(len(m.types)) {
		r.fail("there is no block type %d", i)
	}
	params, results = len(m.types[i].params), len(m.types[i].results)
	c.handOn(params)
	c.handOn(results)
	return params, results
}

func (m *module) tableIndex(r *reader) uint32 {
	i := r.u32()
	if int(i) >= len(m.tables) {
		r.fail("there is no table %d", i)
	}
	return i
}

func (c *coder) misc(in *instr) (cost int64) {
	m, r := c.m, &c.r
	sub := r.u32()
	if sub > 0x11 {
		r.fail("the instruction 0xfc %d is not supported", sub)
	}
	in.op = 0xfc00 | opcode(sub)
	segment := func(n uint32, what string) {
		if in.a = r.u32(); in.a >= n {
			r.fail("there is no %s segment %d", what, in.a)
		}
	}
	zero := func() {
		if r.byte() != 0 {
			r.fail("there is no other memory")
		}
	}
	switch in.op {
	case opMemoryInit, opDataDrop:
		if !m.hasDataCount {
			r.fail("the data count section is missing")
		}
		segment(m.dataCount, "data")
		if in.op == opMemoryInit {
			zero()
		}
	case opMemoryCopy:
		zero()
		zero()
	case opMemoryFill:
		zero()
	case opTableInit:
		segment(m.elements, "element")
		m.tableIndex(r)
	case opElemDrop:
		segment(m.elements, "element")
	case opTableCopy:
		in.a = m.tableIndex(r)
		m.tableIndex(r)
	case opTableGrow, opTableSize, opTableFill:
		in.a = m.tableIndex(r)
	default:
		return 1 // saturating conversions
	}
	return 4
}

// vector decodes the instructions on v128.
func (c *coder) vector(in *instr) {
	r := &c.r
	sub := r.u32()
	if sub > 0xff {
		r.fail("the instruction 0xfd %d is not supported", sub)
	}
	in.op = 0xfd00 | opcode(sub)
	memarg := func() {
		if align := r.u32(); align >= 32 {
			r.fail("the alignment 2^%d is not supported", align)
		}
		in.a = r.u32()
	}
	switch {
	case sub <= 11, sub == 92, sub == 93:
		memarg()
	case sub == 12, sub == 13:
		r.skip(16)
	case sub >= 21 && sub <= 34:
		r.skip(1)
	case sub >= 84 && sub <= 91:
		memarg()
		r.skip(1)
	}
}

// fold charges what is cheap with what dominates it, and leaves out checks
// that another one stands for.
func (c *coder) fold() {
	for i := len(c.points) - 1; i > 0; i-- {
		p := &c.points[i]
		if !p.keep && p.cost < foldBelow {
			c.points[p.parent].cost += p.cost
			p.cost = 0
		}
	}
	entry := &c.points[0]
	entry.check = !c.leaf
	// Straight from the entry into a loop: its header checks for both.
	for _, in := range c.instrs {
		if in.op == opLoop && entry.cost <= shortPrologue {
			c.points[in.point-1].cost += entry.cost
			entry.cost, entry.check = 0, false
		}
		if in.point != 0 || in.op == opBr || in.op == opBrTable || in.op == opReturn || in.op == opUnreachable || in.op == opElse ||
			in.op == opCall || in.op == opCallIndirect || in.op == opReturnCall || in.op == opReturnCallIn || in.op >= 0xfc00 && in.op <= opTableFill {
			break
		}
	}
}

// temp returns the index of a local of our own.
func (c *coder) temp(t tempKind) uint32 {
	if !c.need[t] {
		c.need[t] = true
		c.temps[t] = uint32(c.locals + len(c.order))
		c.order = append(c.order, t)
	}
	return c.temps[t]
}

func (c *coder) index(op byte, i uint32) {
	c.w.byte(op)
	c.w.u32(i)
}

func (c *coder) i32(v int32) {
	c.w.byte(0x41)
	c.w.s64(int64(v))
}

func (c *coder) i64(v int64) {
	c.w.byte(0x42)
	c.w.s64(v)
}

// charge counts a point's cost.
func (c *coder) charge(p *point) {
	if !c.m.metered || p.cost == 0 && !p.check {
		return
	}
	c.m.out.Charges++
	c.index(0x23, c.m.fuel)
	c.i64(max(1, p.cost))
	c.w.byte(0x7d)
	if !p.check {
		c.index(0x24, c.m.fuel)
		return
	}
	c.check()
}

// check stores the fuel that is on the stack, and calls the host below zero.
func (c *coder) check() {
	c.m.out.Checks++
	f := c.temp(tempFuel)
	c.index(0x22, f)
	c.index(0x24, c.m.fuel)
	c.index(0x20, f)
	c.i64(0)
	c.w.byte(0x53, 0x04, 0x40) // i64.lt_s if
	c.index(0x20, f)
	c.index(0x10, c.m.refill)
	c.index(0x24, c.m.fuel)
	c.w.byte(0x0b)
}

// chargeLength counts the length on top of the stack, which stays there, in
// units of 1<<shift.
func (c *coder) chargeLength(shift int64) {
	if !c.m.metered {
		return
	}
	c.length()
	c.w.byte(0xad) // i64.extend_i32_u
	c.i64(shift)
	c.w.byte(0x88, 0x7d) // i64.shr_u i64.sub
	c.check()
}

// chargeGrowth counts the growth on top of the stack, which stays there. One
// beyond most can only fail, and costs nothing.
func (c *coder) chargeGrowth(cost int64, most int32) {
	if !c.m.metered {
		return
	}
	n := c.length()
	c.w.byte(0xad) // i64.extend_i32_u
	c.i64(cost)
	c.w.byte(0x7e) // i64.mul
	c.i64(0)
	c.index(0x20, n)
	c.i32(most)
	c.w.byte(0x4d, 0x1b, 0x7d) // i32.le_u select i64.sub
	c.check()
}

// length puts the fuel and the length under it on the stack.
func (c *coder) length() (local uint32) {
	c.m.out.Charges++
	n := c.temp(tempCount)
	c.index(0x22, n)
	c.index(0x23, c.m.fuel)
	c.index(0x20, n)
	return n
}

func (c *coder) staleFlag() {
	if c.m.track {
		c.m.staleTracked = true
		c.i32(1)
		c.index(0x24, c.m.stale)
	}
}

// emit writes the instructions with what is added.
func (c *coder) emit() {
	m := c.m
	if m.trackMemory {
		c.tracker.begin(len(c.types))
	}
	c.charge(&c.points[0])
	src := m.in.b
	from := int32(-1) // start of a run of instructions that are copied
	flush := func(to int32) {
		if from >= 0 {
			c.w.raw(src[from:to])
			from = -1
		}
	}
	for i := range c.instrs {
		in := &c.instrs[i]
		if m.trackMemory {
			c.follow(int32(i), in, flush)
		}
		replaced := false
		switch in.op {
		case opCall, opReturnCall, opRefFunc:
			if in.a >= m.importedFuncs {
				flush(in.start)
				c.index(byte(in.op), m.function(in.a))
				replaced = true
			}
		case opMemoryFill, opMemoryInit, opMemoryCopy:
			flush(in.start)
			c.chargeLength(bulkShift)
			if m.trackMemory {
				c.markRange()
			}
		case opTableInit, opTableCopy, opTableFill:
			flush(in.start)
			c.chargeLength(0)
			c.staleFlag()
		case opTableGrow:
			flush(in.start)
			c.chargeGrowth(1, 1<<27)
			c.staleFlag()
		case opTableSet, opElemDrop, opDataDrop:
			if m.track {
				flush(in.start)
				c.staleFlag()
			}
		case opMemoryGrow:
			flush(in.start)
			c.chargeGrowth(growCost, 1<<16)
			if m.trackMemory {
				c.index(0x10, m.grow)
				replaced = true
			}
		case opMemorySize:
			if m.trackMemory {
				flush(in.start)
				c.w.byte(0x3f, 0)
				c.index(0x23, m.hidden)
				c.w.byte(0x6b)
				replaced = true
			}
		}
		if !replaced && from < 0 {
			from = in.start
		}
		if in.point != 0 {
			p := &c.points[in.point-1]
			if m.metered && (p.cost != 0 || p.check) {
				flush(in.end)
				c.charge(p)
			}
		}
	}
	flush(int32(c.r.i))
}
