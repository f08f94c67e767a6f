package rewrite

import "math/bits"

// tracker follows values through a function while it is emitted, so that most
// stores need no mark: one mark stands for all stores near the same address,
// wherever it dominates them.
type tracker struct {
	// locals are the values of the first locals: unknown until one is read, so
	// that blocks without end take no memory; assigned tells when each was last
	// assigned.
	locals   []value
	assigned []int32
	stack    []operand
	scopes   []scope
	next     uint32 // number of the next new value
	// marked has, for a value's number, where the marked window begins.
	marked []window
	// learnt are the numbers with a window, in the order in which they got it.
	learnt []uint32
}

// value is what the lower 32 bits of a local or an operand are: the value of a
// number, plus delta. The number constant is 0; unknown values are all
// different from each other.
type value struct{ number, delta uint32 }

const (
	unknown  = 0
	constant = 1
)

// operand is a value on the stack and a local that had the same number.
type operand struct {
	value
	local int32 // -1 for none
}

// scope is an open block.
type scope struct {
	since  int32 // instruction that opened it
	learnt int
}

// window is the part of the memory around a value that a mark covers.
type window struct {
	known bool
	begin uint32 // relative to the value
}

const (
	// mostTracked is how many locals of a function are followed.
	mostTracked = 256
	// mostResults is how many results of a call are followed: what a call
	// takes here must not grow with them.
	mostResults = 8
	// below is how far below an address its window begins: room for what is
	// pushed next on a stack that grows down.
	below = 128
	// windowBytes is what a mark of any address in a chunk covers for sure,
	// the widest store taken off.
	windowBytes = ChunkBytes - 16
)

func extend(types []byte, t byte, n int) []byte {
	for n = min(n, mostTracked-len(types)); n > 0; n-- {
		types = append(types, t)
	}
	return types
}

func (t *tracker) begin(locals int) {
	t.next = constant + 1
	t.marked = append(t.marked[:0], window{}, window{})
	t.locals, t.assigned = t.locals[:0], t.assigned[:0]
	for range locals {
		t.locals, t.assigned = append(t.locals, value{}), append(t.assigned, -1)
	}
	t.stack, t.learnt = t.stack[:0], t.learnt[:0]
	t.scopes = append(t.scopes[:0], scope{since: -1})
}

func (t *tracker) fresh() value {
	t.marked = append(t.marked, window{})
	t.next++
	return value{number: t.next - 1}
}

func (t *tracker) push(v value) { t.stack = append(t.stack, operand{v, -1}) }

// pop takes n operands and returns the deepest. What is not known to be there
// is unknown.
func (t *tracker) pop(n int) operand {
	if n == 0 || len(t.stack) < n {
		t.stack = t.stack[:0]
		return operand{local: -1}
	}
	o := t.stack[len(t.stack)-n]
	t.stack = t.stack[:len(t.stack)-n]
	return o
}

// enter opens a block.
func (t *tracker) enter(at int32) {
	t.stack = t.stack[:0]
	t.scopes = append(t.scopes, scope{at, len(t.learnt)})
}

// join is where control arrives that may have skipped the open block: what
// was learnt in it is not known any more, nor what it assigned.
func (t *tracker) join() {
	s := t.scopes[len(t.scopes)-1]
	t.stack = t.stack[:0]
	for _, n := range t.learnt[s.learnt:] {
		t.marked[n].known = false
	}
	t.learnt = t.learnt[:s.learnt]
	for l := range t.locals {
		if t.assigned[l] > s.since {
			t.locals[l] = value{}
		}
	}
}

// add is the sum of two operands, where one is a constant; sign is 1 or -1.
func (t *tracker) add(sign uint32) {
	b := t.pop(1)
	a := t.pop(1)
	switch {
	case b.number == constant && a.number != unknown:
		a.delta += sign * b.delta
	case a.number == constant && b.number != unknown && sign == 1:
		b.delta += a.delta
		a = b
	default:
		a = operand{local: -1}
	}
	t.stack = append(t.stack, a)
}

// markRange marks what a bulk operation writes: the stack has where it
// begins, what it writes, and how many bytes.
func (c *coder) markRange() {
	c.m.out.Marks++
	n, s, d := c.temp(tempCount), c.temp(tempSrc), c.temp(tempAddr)
	c.index(0x21, n)
	c.index(0x21, s)
	c.index(0x22, d)
	c.index(0x20, d)
	c.index(0x20, n)
	c.index(0x10, c.m.markRange)
	c.index(0x20, s)
	c.index(0x20, n)
}

// follow keeps what is known of locals and operands, and marks a store's
// chunk before it is written.
func (c *coder) follow(at int32, in *instr, flush func(int32)) {
	t := &c.tracker
	switch op := in.op; {
	case op == opLocalGet:
		if int(in.a) < len(t.locals) {
			if t.locals[in.a].number == unknown {
				t.locals[in.a] = t.fresh()
			}
			t.stack = append(t.stack, operand{t.locals[in.a], int32(in.a)})
		} else {
			t.push(value{})
		}
	case op == opLocalSet, op == opLocalTee:
		v := t.pop(1)
		if v.number == unknown {
			v.value = t.fresh()
		}
		if int(in.a) < len(t.locals) {
			t.locals[in.a], t.assigned[in.a] = v.value, at
			v.local = int32(in.a)
		}
		if op == opLocalTee {
			t.stack = append(t.stack, v)
		}
	case op == opWrapI64, op == 0xac, op == 0xad: // the lower half stays
		if len(t.stack) == 0 {
			t.push(value{})
		}
	case op == opI32Const, op == opI64Const:
		t.push(value{constant, in.a})
	case op == 0x6a, op == 0x7c:
		t.add(1)
	case op == 0x6b, op == 0x7d:
		t.add(^uint32(0))
	case op == opBlock, op == opIf:
		t.enter(at)
	case op == opLoop:
		t.enter(at)
		for i, set := range c.points[in.point-1].assigned {
			for ; set != 0; set &= set - 1 {
				l := i*64 + bits.TrailingZeros64(set)
				t.locals[l], t.assigned[l] = value{}, at
			}
		}
	case op == opElse:
		t.join()
	case op == opEnd:
		t.join()
		t.scopes = t.scopes[:len(t.scopes)-1]
	case op >= opI32Store && op <= opI64Store32:
		kind := tempI32
		switch op {
		case 0x37, 0x3c, 0x3d, 0x3e:
			kind = tempI64
		case 0x38:
			kind = tempF32
		case 0x39:
			kind = tempF64
		}
		c.store(in, kind, flush)
	case op == opV128Store, op >= opStoreLane8 && op <= opStoreLast:
		c.store(in, tempV128, flush)
	default:
		c.effect(in)
	}
}

// store marks what the store is going to write, unless that is done. The host
// counts chunks modulo their number, so that a window may begin below 0.
func (c *coder) store(in *instr, kind tempKind, flush func(int32)) {
	t := &c.tracker
	address := t.pop(2)
	to := address.delta + in.a
	if address.number != unknown {
		if w := t.marked[address.number]; w.known && to-w.begin <= windowBytes {
			return
		}
	}
	flush(in.start)
	c.m.out.Marks++
	begin := to - below
	switch l := address.local; {
	case address.number == constant:
		c.i32(int32(begin))
	case address.number != unknown && l >= 0 && t.locals[l].number == address.number:
		c.index(0x20, uint32(l))
		if c.types[l] == 0x7e {
			c.w.byte(byte(opWrapI64))
		}
		if d := begin - t.locals[l].delta; d != 0 {
			c.i32(int32(d))
			c.w.byte(0x6a)
		}
	default:
		v, a := c.temp(kind), c.temp(tempAddr)
		c.index(0x21, v)
		c.index(0x22, a)
		c.index(0x20, v)
		c.index(0x20, a)
		if in.a != 0 {
			c.i32(int32(in.a))
			c.w.byte(0x6a)
		}
		begin = to
	}
	if address.number != unknown {
		t.marked[address.number] = window{true, begin}
		t.learnt = append(t.learnt, address.number)
	}
	c.mark()
}

// mark marks the chunk of the address on the stack. In line and without a
// branch: a call, even one that is never made, costs the code around it more.
func (c *coder) mark() {
	c.i32(ChunkBits)
	c.w.byte(0x76) // i32.shr_u
	if c.m.maskChunks != 1<<(32-ChunkBits)-1 {
		c.i32(int32(c.m.maskChunks))
		c.w.byte(0x71) // i32.and: out of bounds, the store itself must trap
	}
	c.w.byte(0xd0, 0x70) // ref.null func
	c.index(0x26, c.m.marks)
}

// effect follows what an instruction does to the operands.
func (c *coder) effect(in *instr) {
	m, t := c.m, &c.tracker
	pop := func(n int, push int) {
		if n > 0 {
			t.pop(n)
		}
		for range push {
			t.push(value{})
		}
	}
	switch op := in.op; {
	case op == opNop:
	case op == opCall:
		f := m.types[m.functions[in.a]]
		if len(f.results) > mostResults {
			t.stack = t.stack[:0]
			return
		}
		pop(len(f.params), len(f.results))
	case op == 0x1a: // drop
		pop(1, 0)
	case op == 0x1b, op == 0x1c: // select
		pop(3, 1)
	case op == opBrIf, op == opGlobalSet:
		pop(1, 0)
	case op == opGlobalGet, op == opMemorySize, op == 0x43, op == 0x44, op == 0xd0, op == opRefFunc, op == opTableSize:
		pop(0, 1)
	case op >= 0x28 && op <= 0x35, op == opMemoryGrow, op == 0x45, op == 0x50, // loads, eqz
		op >= 0x67 && op <= 0x69, op >= 0x79 && op <= 0x7b, // clz ctz popcnt
		op >= 0x8b && op <= 0x91, op >= 0x99 && op <= 0x9f, // float unary
		op >= 0xa8 && op <= 0xc4, op == 0xd1, op >= 0xfc00 && op <= 0xfc07:
		pop(1, 1)
	case op >= 0x46 && op <= 0xa6: // what is left there takes two
		pop(2, 1)
	case op == opMemoryFill, op == opMemoryCopy, op == opMemoryInit:
		pop(3, 0)
	default:
		t.stack = t.stack[:0]
	}
}
