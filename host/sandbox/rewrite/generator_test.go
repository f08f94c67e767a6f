package rewrite_test

import (
	"fmt"
	"math/rand/v2"
)

// generated is a random module, valid, that ends whatever it is called with:
// its loops count down, and each call takes one from a budget in a global.
type generated struct {
	wasm      []byte
	functions []signature // exported as f0, f1, …
	globals   []string    // exported, mutable
}

type signature struct{ params, results []byte }

// generator makes typed code: an expression leaves one value, a statement
// none.
type generator struct {
	*rand.Rand
	build
	hosts      []signature
	signatures []signature // of all functions
	variables  []byte      // types of the globals; the first is the budget, the second a stack pointer
	segments   int         // passive data
	lists      int         // passive elements

	compiled bool

	// of the function being made
	code   code
	own    signature
	locals []byte
	// free is how many of the locals code may change; behind them are the
	// counters of loops.
	free   int
	labels [][]byte // what a branch to each takes
	size   int      // how much more there may be
	loops  int      // around this place
	leaf   bool
}

const (
	budget       = 0
	stackPointer = 1
	// The first locals behind the parameters hold addresses.
	pointers = 3
)

// compiled tells whether the module of a seed is for the engine's compiler.
// Compiling takes most of the time. The compiler of wazero 1.12 for amd64 can
// lose a value when it runs out of vector registers, in selects of floats and
// vectors (its issue 2534) and in v128.bitselect; these modules do without.
func compiled(seed uint64) bool { return seed%4 == 0 }

var numbers = []byte{i32, i32, i32, i64, i64, f32, f64, v128}

func generate(seed uint64) *generated {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1)), compiled: compiled(seed)}
	if g.chance(50) {
		g.hosts = append(g.hosts, signature{[]byte{i32}, []byte{i32}})
		g.host("env", "step", []byte{i32}, []byte{i32})
	}
	g.signatures = append(g.signatures, g.hosts...)
	most := -1
	least := 1 + g.IntN(3)
	if !g.chance(2) {
		most = least + g.IntN(3)
	}
	g.memory(least, most)
	g.table(funcref, 8, 8+g.IntN(6))
	if g.chance(30) {
		g.table(externref, 3, 5)
	}
	g.global(i32, true, *new(code).i32(int32(20 + g.IntN(200))))
	g.global(i32, true, *new(code).i32(g.border()))
	g.variables = []byte{i32, i32}
	for range g.IntN(5) {
		t := g.number()
		g.global(t, true, g.constant(t))
		g.variables = append(g.variables, t)
	}
	out := &generated{}
	for i := range g.variables {
		name := fmt.Sprintf("g%d", i)
		g.export(name, 3, uint32(i))
		out.globals = append(out.globals, name)
	}
	count := 1 + g.IntN(5)
	for range count {
		g.signatures = append(g.signatures, signature{g.several(g.IntN(4)), g.several(g.IntN(3))})
	}
	imported := len(g.hosts)
	for i, s := range g.signatures[imported:] {
		g.declare(g.typed(s.params, s.results))
		g.export(fmt.Sprintf("f%d", i), 0, uint32(imported+i))
		out.functions = append(out.functions, s)
	}
	anyFunctions := func(n int) (list []uint32) {
		for range n {
			list = append(list, uint32(g.IntN(len(g.signatures))))
		}
		return list
	}
	g.element(int32(g.IntN(3)), anyFunctions(1+g.IntN(5))...)
	if g.lists = g.IntN(2); g.lists > 0 {
		g.passiveElement(anyFunctions(1 + g.IntN(4))...)
	}
	for range g.IntN(3) {
		g.data(g.border(), g.random(g.IntN(60)))
	}
	active := len(g.datas)
	if g.segments = g.IntN(2); g.segments > 0 {
		g.passiveData(g.random(g.IntN(6000)))
	}
	for i, s := range g.signatures[imported:] {
		g.body(s, i == count-1 || g.chance(20), active)
	}
	// Sometimes a start function, without parameters.
	for i, s := range out.functions {
		if len(s.params)+len(s.results) == 0 && g.chance(20) {
			f := uint32(imported + i)
			g.start = &f
			break
		}
	}
	g.dataCount = true
	out.wasm = g.wasm()
	return out
}

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

func (g *generator) number() byte { return numbers[g.IntN(len(numbers))] }

func (g *generator) several(n int) (list []byte) {
	for range n {
		list = append(list, g.number())
	}
	return list
}

func (g *generator) random(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.Uint32())
	}
	return b
}

// border is an address, most of the time near where chunks meet.
func (g *generator) border() int32 {
	switch g.IntN(40) {
	case 0, 1, 2, 3, 4:
		return int32(g.IntN(pageBytes - 64))
	case 5:
		return int32(g.IntN(64))
	case 6:
		return int32(pageBytes - 1 - g.IntN(300))
	}
	return int32(4096*(2+g.IntN(13)) + g.IntN(48) - 32)
}

func (g *generator) constant(t byte) (c code) {
	switch t {
	case i32:
		if g.chance(60) {
			c.i32(g.border())
		} else {
			c.i32(int32(g.Uint32()) >> g.IntN(32))
		}
	case i64:
		if g.chance(50) {
			c.i64(int64(g.border()))
		} else {
			c.i64(int64(g.Uint64()) >> g.IntN(64))
		}
	case f32: // small and exact: what a NaN's bits are is up to the engine
		c.op(0x43, 0, 0, byte(g.IntN(2))<<7, 0x3f+byte(g.IntN(3)))
	case f64:
		c.op(0x44, 0, 0, 0, 0, 0, 0, byte(g.IntN(16))<<4, 0x3f+byte(g.IntN(2)))
	case v128:
		c.x(0xfd, 12).op(g.random(16)...)
	}
	return c
}

// body makes the next function.
func (g *generator) body(s signature, leaf bool, active int) {
	g.code, g.own, g.leaf, g.loops = nil, s, leaf, 0
	g.labels = [][]byte{s.results}
	g.locals = append(append([]byte{}, s.params...), i32, i32, i64)
	for range g.IntN(5) {
		g.locals = append(g.locals, g.number())
	}
	if g.chance(5) { // more than are followed
		for range 250 + g.IntN(20) {
			g.locals = append(g.locals, i32)
		}
		g.locals = append(g.locals, g.several(4)...)
	}
	g.free = len(g.locals)
	g.size = 10 + g.IntN(120)
	if g.chance(40) { // little else hides a mark that is missing
		g.size = 1 + g.IntN(8)
	}
	if g.chance(90) {
		g.code.i32(g.border()).set(g.pointer(0))
	}
	if g.chance(90) {
		g.code.i32(g.border()).set(g.pointer(1)).i64(int64(g.border())).set(g.pointer(2))
	}
	for g.size > 0 {
		g.statement(0, active)
	}
	if tail := g.callable(); tail >= 0 && !leaf && g.chance(15) && string(g.signatures[tail].results) == string(s.results) {
		g.take()
		for _, t := range g.signatures[tail].params {
			g.expression(t, 2)
		}
		g.code.u(0x12, uint32(tail))
	} else {
		for _, t := range s.results {
			g.expression(t, 2)
		}
	}
	g.define(g.locals[len(s.params):], g.code)
}

func (g *generator) pointer(n int) uint32 { return uint32(len(g.own.params) + n) }

// callable is a function that may be called, or -1.
func (g *generator) callable() int { return g.IntN(len(g.signatures)) }

// take takes one call from the budget, and traps when there is none.
func (g *generator) take() {
	g.code.u(0x23, budget).op(0x45).block(0x04, void).op(0x00).end()
	g.code.u(0x23, budget).i32(1).op(0x6b).u(0x24, budget)
}

func (g *generator) local(t byte) (uint32, bool) {
	start := g.IntN(g.free)
	for i := range g.free {
		if l := (start + i) % g.free; g.locals[l] == t {
			return uint32(l), true
		}
	}
	return 0, false
}

// assignable is a local that is not used for addresses.
func (g *generator) assignable(t byte) (uint32, bool) {
	l, ok := g.local(t)
	if first := g.pointer(0); ok && l >= first && l < first+pointers && !g.chance(2) {
		return 0, false
	}
	return l, ok
}

// address leaves an address, mostly one in bounds.
func (g *generator) address(depth int) {
	c := &g.code
	step := func() {
		switch g.IntN(6) {
		case 0, 1:
			c.i32(int32(g.IntN(200))).op(0x6a)
		case 2:
			c.i32(int32(g.IntN(160))).op(0x6b)
		case 3:
			c.i32(int32(g.IntN(9000) - 3500)).op(0x6a)
		}
	}
	switch g.IntN(12) {
	case 0, 1:
		c.i32(g.border())
	case 2, 3, 4, 5:
		c.get(g.pointer(g.IntN(2)))
		step()
	case 6:
		c.get(g.pointer(2))
		if g.chance(50) {
			c.i64(int64(g.IntN(300) - 100)).op(0x7c)
		}
		c.op(0xa7)
		step()
	case 7:
		c.u(0x23, stackPointer)
		step()
	case 8:
		c.get(g.pointer(g.IntN(2)))
		step()
		c.u(0x22, g.pointer(g.IntN(2)))
	case 9:
		c.i32(int32(g.IntN(100)))
		c.get(g.pointer(g.IntN(2))).op(0x6a)
	default:
		g.expression(i32, depth)
		c.i32(0xffff).op(0x71)
		if g.chance(30) {
			c.u(0x22, g.pointer(g.IntN(2)))
		}
		step()
	}
}

// at writes a memarg.
func (g *generator) at(align int) {
	offset := uint32(0)
	switch n := g.IntN(1000); {
	case n < 400:
		offset = uint32(g.IntN(300))
	case n < 500:
		offset = uint32(g.IntN(5000))
	case n < 550:
		offset = uint32(4096*(1+g.IntN(4)) + g.IntN(32) - 16)
	case n < 554:
		offset = uint32(g.IntN(2 * pageBytes))
	case n == 554:
		offset = -uint32(g.IntN(5000))
	}
	g.code.u32(uint32(g.IntN(align + 1))).u32(offset)
}

// edge stores around one address so far apart that one mark just covers both,
// or just does not.
func (g *generator) edge() {
	c := &g.code
	p, q := g.pointer(0), g.pointer(1)
	if g.chance(50) {
		p, q = q, p
	}
	near, first := int32(128), uint32(g.IntN(100))
	if g.chance(30) {
		near = 0
	}
	c.i32(4096*int32(3+g.IntN(8)) + near - 2 - int32(g.IntN(24)) + int32(g.IntN(6)) - int32(first))
	if g.chance(80) {
		c.i32(0).op(0x72) // nobody knows its value
	}
	c.set(p)
	store := func(offset uint32) {
		s := stores[g.IntN(len(stores))]
		c.op(g.constant(s.operand)...)
		if s.prefix == 0 {
			c.op(byte(s.op))
		} else {
			c.x(s.prefix, s.op)
		}
		c.u32(0).u32(offset)
		if s.lanes > 0 {
			c.op(byte(g.IntN(s.lanes)))
		}
	}
	if g.chance(30) { // the local is another value when it is stored
		c.get(p).get(p).set(q).i32(0x8000).set(p)
		store(first)
		p = q
	} else {
		c.get(p)
		store(first)
	}
	if g.chance(70) {
		c.get(p)
		if g.chance(50) {
			store(first + 3952 + uint32(g.IntN(18)))
		} else {
			store(first + 3952 + uint32(g.IntN(160)) - 16)
		}
	}
	if g.chance(60) {
		c.get(p).i32(-int32(g.IntN(160))).op(0x6a)
		store(first)
	}
}

type access struct {
	prefix  byte
	op      uint32
	align   int
	operand byte
	lanes   int
}

var stores = []access{
	{0, 0x36, 2, i32, 0}, {0, 0x37, 3, i64, 0}, {0, 0x38, 2, f32, 0}, {0, 0x39, 3, f64, 0},
	{0, 0x3a, 0, i32, 0}, {0, 0x3b, 1, i32, 0}, {0, 0x3c, 0, i64, 0}, {0, 0x3d, 1, i64, 0}, {0, 0x3e, 2, i64, 0},
	{0xfd, 11, 4, v128, 0}, {0xfd, 88, 0, v128, 16}, {0xfd, 89, 1, v128, 8}, {0xfd, 90, 2, v128, 4}, {0xfd, 91, 3, v128, 2},
}

var loads = []access{
	{0, 0x28, 2, i32, 0}, {0, 0x29, 3, i64, 0}, {0, 0x2a, 2, f32, 0}, {0, 0x2b, 3, f64, 0},
	{0, 0x2c, 0, i32, 0}, {0, 0x2d, 0, i32, 0}, {0, 0x2e, 1, i32, 0}, {0, 0x2f, 1, i32, 0},
	{0, 0x30, 0, i64, 0}, {0, 0x31, 0, i64, 0}, {0, 0x32, 1, i64, 0}, {0, 0x33, 1, i64, 0}, {0, 0x34, 2, i64, 0}, {0, 0x35, 2, i64, 0},
	{0xfd, 0, 4, v128, 0}, {0xfd, 1, 3, v128, 0}, {0xfd, 6, 3, v128, 0}, {0xfd, 7, 0, v128, 0}, {0xfd, 8, 1, v128, 0}, {0xfd, 9, 2, v128, 0},
	{0xfd, 10, 3, v128, 0}, {0xfd, 92, 2, v128, 0}, {0xfd, 93, 3, v128, 0},
	{0xfd, 84, 0, v128, 16}, {0xfd, 85, 1, v128, 8}, {0xfd, 86, 2, v128, 4}, {0xfd, 87, 3, v128, 2},
}

func (g *generator) access(a access) {
	if a.prefix == 0 {
		g.code.op(byte(a.op))
	} else {
		g.code.x(a.prefix, a.op)
	}
	g.at(a.align)
	if a.lanes > 0 {
		g.code.op(byte(g.IntN(a.lanes)))
	}
}

func (g *generator) statements(n, depth, active int) {
	for range n {
		g.statement(depth, active)
	}
}

// length is how much a bulk operation writes.
func (g *generator) length() {
	switch g.IntN(6) {
	case 0:
		g.code.i32(0)
	case 1:
		g.code.i32(int32(g.IntN(5000)))
	case 2:
		g.code.i32(int32(4096 + g.IntN(3) - 1))
	case 3:
		if g.chance(10) {
			g.expression(i32, 3)
			return
		}
		fallthrough
	default:
		g.code.i32(int32(g.IntN(200)))
	}
}

// statement leaves the operands as they are.
func (g *generator) statement(depth, active int) {
	c := &g.code
	g.size--
	choice := g.IntN(100)
	if (depth > 4 || g.size < 0) && choice >= 60 {
		choice = g.IntN(60)
	}
	switch {
	case choice < 30:
		g.address(depth + 1)
		s := stores[g.IntN(len(stores))]
		g.expression(s.operand, depth+2)
		g.access(s)
	case choice < 34:
		g.edge()
	case choice < 38: // several near the same address, as compilers write
		p := g.pointer(g.IntN(2))
		at := uint32(g.IntN(4400))
		for range 2 + g.IntN(4) {
			c.get(p)
			g.expression(i64, depth+3)
			c.u(0x37, 3, at)
			at += uint32(g.IntN(24))
		}
	case choice < 44:
		if l, ok := g.assignable(g.number()); ok {
			g.expression(g.locals[l], depth+1)
			c.set(l)
		}
	case choice < 50: // an address goes on
		g.address(depth + 2)
		if g.loops > 0 && g.chance(60) || g.chance(10) {
			c.i32(0x7fff).op(0x71).i32(0x2000).op(0x6a)
		}
		if g.chance(20) {
			c.op(0xac + byte(g.IntN(2))).set(g.pointer(2))
		} else {
			c.set(g.pointer(g.IntN(2)))
		}
	case choice < 54:
		v := 1 + g.IntN(len(g.variables)-1)
		if v == stackPointer {
			g.address(depth + 2)
			if g.chance(50) {
				c.i32(0x7fff).op(0x71).i32(0x2000).op(0x6a)
			}
		} else {
			g.expression(g.variables[v], depth+1)
		}
		c.u(0x24, uint32(v))
	case choice < 58:
		g.bulk(active)
	case choice < 60:
		g.expression(g.number(), depth+1)
		c.op(0x1a)
	case choice < 70: // if
		g.expression(i32, depth+2)
		c.block(0x04, void)
		g.labels = append(g.labels, nil)
		g.statements(g.IntN(4), depth+1, active)
		g.leave(depth)
		if g.chance(50) {
			c.op(0x05)
			g.statements(g.IntN(4), depth+1, active)
			g.leave(depth)
		}
		g.close()
	case choice < 77: // block
		c.block(0x02, void)
		g.labels = append(g.labels, nil)
		g.statements(g.IntN(3), depth+1, active)
		if g.chance(60) {
			g.expression(i32, depth+2)
			c.u(0x0d, 0)
		}
		g.statements(g.IntN(3), depth+1, active)
		g.leave(depth)
		g.close()
	case choice < 86:
		g.loop(depth, active)
	case choice < 92:
		g.invoke(depth)
	case choice < 96:
		g.entries()
	case choice < 98: // many values through a block
		in, out := g.several(g.IntN(3)), g.several(g.IntN(3))
		for _, t := range in {
			g.expression(t, depth+2)
		}
		c.op(0x02).u32(g.typed(in, out))
		g.labels = append(g.labels, out)
		for range in {
			c.op(0x1a)
		}
		g.statements(g.IntN(2), depth+1, active)
		for _, t := range out {
			g.expression(t, depth+2)
		}
		g.close()
		for range out {
			c.op(0x1a)
		}
	default:
		c.op(0x01)
		g.expression(i32, depth+2)
		c.i32(7).op(0x71, 0x45).block(0x04, void)
		g.labels = append(g.labels, nil)
		if g.chance(10) {
			c.op(0x00)
			g.dead()
		} else {
			for _, t := range g.own.results {
				g.expression(t, depth+2)
			}
			c.op(0x0f)
			g.dead()
		}
		g.close()
	}
}

func (g *generator) close() {
	g.labels = g.labels[:len(g.labels)-1]
	g.code.end()
}

// leave may branch out, by any of the ways, with dead code behind it.
func (g *generator) leave(depth int) {
	c := &g.code
	var targets []uint32
	for i := range g.labels {
		if len(g.labels[len(g.labels)-1-i]) == 0 {
			targets = append(targets, uint32(i))
		}
	}
	if len(targets) == 0 || !g.chance(25) {
		return
	}
	target := func() uint32 { return targets[g.IntN(len(targets))] }
	switch g.IntN(3) {
	case 0:
		c.u(0x0c, target())
		g.dead()
	case 1:
		g.expression(i32, depth+2)
		c.i32(3).op(0x71).u(0x0e, 2, target(), target(), target())
		g.dead()
	case 2:
		g.expression(i32, depth+2)
		c.u(0x0d, target())
	}
}

// loopLabel stands for the label of a loop: nothing but the loop's own end
// branches there.
var loopLabel = []byte{0}

// dead is code that is never run; its operands come from nowhere.
func (g *generator) dead() {
	c := &g.code
	switch g.IntN(12) {
	case 0:
		c.u(0x36, 2, 8)
	case 1:
		c.x(0xfc, 11, 0)
	case 2:
		c.u(0x40, 0).op(0x1a)
	case 3:
		c.u(0x21, g.pointer(0))
	case 4:
		c.i64(4).u(0x37, 3, 8)
	case 5:
		c.x(0xfd, 88).op(0, 9, 3)
	case 6:
		c.x(0xfc, 10, 0, 0)
	case 7:
		c.x(0xfc, 15, 0).op(0x1a)
	case 8:
		c.op(0x6a).u(0x22, g.pointer(1)).i32(1).u(0x36, 2, 0)
	case 9:
		c.u(0x23, stackPointer).op(0x6b).i64(1).u(0x37, 3, 16)
	}
}

// loop counts a local of its own down.
func (g *generator) loop(depth, active int) {
	if g.loops >= 3 {
		return
	}
	c := &g.code
	counter := uint32(len(g.locals))
	g.locals = append(g.locals, i32)
	c.i32(int32(1 + g.IntN(5))).set(counter)
	g.loops++
	c.block(0x02, void)
	g.labels = append(g.labels, nil)
	c.block(0x03, void)
	g.labels = append(g.labels, loopLabel)
	g.statements(1+g.IntN(4), depth+1, active)
	if g.chance(40) { // a step of a pointer
		p := g.pointer(g.IntN(2))
		c.get(p).i32(int32(g.IntN(1500) - 700)).op(0x6a).set(p)
	}
	if g.chance(20) { // go on early
		c.get(counter).i32(1).op(0x6b).u(0x22, counter).i32(0).op(0x4a)
		g.expression(i32, depth+3)
		c.i32(1).op(0x71, 0x71).u(0x0d, 0)
	}
	c.get(counter).i32(1).op(0x6b).u(0x22, counter).i32(0).op(0x4a).u(0x0d, 0)
	g.close()
	g.statements(g.IntN(2), depth+1, active)
	g.close()
	g.loops--
}

func (g *generator) bulk(active int) {
	c := &g.code
	switch n := g.IntN(12); {
	case n < 4:
		g.address(3)
		g.expression(i32, 3)
		g.length()
		c.x(0xfc, 11, 0)
	case n < 8:
		g.address(3)
		g.address(3)
		g.length()
		c.x(0xfc, 10, 0, 0)
	case n < 10 && g.segments > 0:
		g.address(3)
		c.i32(int32(g.IntN(20)))
		if g.chance(90) {
			c.i32(int32(g.IntN(40)))
		} else {
			g.length()
		}
		c.x(0xfc, 8, uint32(active), 0)
	case n == 10 && g.segments > 0 && g.chance(20):
		c.x(0xfc, 9, uint32(active))
	default:
		c.i32(int32(g.IntN(3))).u(0x40, 0).op(0x1a)
	}
}

// invoke calls a function, and keeps or drops what it returns.
func (g *generator) invoke(depth int) {
	if g.leaf {
		return
	}
	c := &g.code
	f := g.callable()
	s := g.signatures[f]
	g.take()
	for _, t := range s.params {
		g.expression(t, depth+2)
	}
	if g.chance(30) {
		if g.chance(80) {
			c.i32(int32(g.IntN(6)))
		} else {
			g.expression(i32, depth+2)
		}
		c.u(0x11, g.typed(s.params, s.results), 0)
	} else {
		c.call(uint32(f))
	}
	for i := range s.results {
		t := s.results[len(s.results)-1-i]
		if l, ok := g.assignable(t); ok && g.chance(60) {
			c.set(l)
		} else {
			c.op(0x1a)
		}
	}
}

// entries reads and changes the first table.
func (g *generator) entries() {
	c := &g.code
	entry := func() { c.i32(int32(g.IntN(8))) }
	switch n := g.IntN(8); {
	case n == 0:
		entry()
		c.u(0x25, 0).op(0xd1, 0x1a)
	case n == 1:
		entry()
		entry()
		c.u(0x25, 0).u(0x26, 0)
	case n == 2 && g.lists > 0:
		entry()
		c.i32(0).i32(int32(g.IntN(3))).x(0xfc, 12, 1, 0)
	case n == 3:
		entry()
		entry()
		c.i32(int32(g.IntN(4))).x(0xfc, 14, 0, 0)
	case n == 4:
		c.op(0xd0, funcref).i32(int32(g.IntN(3))).x(0xfc, 15, 0).op(0x1a)
	case n == 5:
		entry()
		c.op(0xd0, funcref).i32(int32(g.IntN(3))).x(0xfc, 17, 0)
	case n == 6:
		c.x(0xfc, 16, 0).op(0x1a)
	case n == 7 && g.lists > 0 && g.chance(20):
		c.x(0xfc, 13, 1)
	}
}

type operation struct {
	code   []byte
	params []byte
}

func operations(from, to byte, params ...byte) (list []operation) {
	for op := int(from); op <= int(to); op++ {
		list = append(list, operation{[]byte{byte(op)}, params})
	}
	return list
}

func vector(sub uint32, immediate []byte, params ...byte) operation {
	return operation{append(*new(code).x(0xfd, sub), immediate...), params}
}

func saturating(sub byte, param byte) operation { return operation{[]byte{0xfc, sub}, []byte{param}} }

func concat(lists ...[]operation) (all []operation) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

var computations = map[byte][]operation{
	i32: concat(
		operations(0x45, 0x45, i32), operations(0x67, 0x69, i32), operations(0xc0, 0xc1, i32), operations(0x50, 0x50, i64), operations(0xa7, 0xa7, i64),
		operations(0x46, 0x4f, i32, i32), operations(0x6a, 0x6c, i32, i32), operations(0x6a, 0x6c, i32, i32), operations(0x71, 0x78, i32, i32),
		operations(0x51, 0x5a, i64, i64), operations(0x5b, 0x60, f32, f32), operations(0x61, 0x66, f64, f64),
		[]operation{saturating(0, f32), saturating(1, f32), saturating(2, f64), saturating(3, f64), vector(27, []byte{2}, v128), vector(83, nil, v128)}),
	i64: concat(
		operations(0x79, 0x7b, i64), operations(0xc2, 0xc4, i64), operations(0xac, 0xad, i32), operations(0x7c, 0x7e, i64, i64), operations(0x83, 0x8a, i64, i64),
		[]operation{saturating(4, f32), saturating(5, f32), saturating(6, f64), saturating(7, f64), vector(29, []byte{1}, v128)}),
	f32: concat(operations(0x8b, 0x91, f32), operations(0x92, 0x98, f32, f32), operations(0xb2, 0xb3, i32), operations(0xb4, 0xb5, i64), operations(0xb6, 0xb6, f64)),
	f64: concat(operations(0x99, 0x9f, f64), operations(0xa0, 0xa6, f64, f64), operations(0xb7, 0xb8, i32), operations(0xb9, 0xba, i64), operations(0xbb, 0xbb, f32)),
	v128: {vector(15, nil, i32), vector(16, nil, i32), vector(17, nil, i32), vector(18, nil, i64), vector(77, nil, v128), vector(78, nil, v128, v128),
		vector(80, nil, v128, v128), vector(81, nil, v128, v128), vector(110, nil, v128, v128), vector(142, nil, v128, v128), vector(174, nil, v128, v128),
		vector(206, nil, v128, v128), vector(14, nil, v128, v128), vector(13, []byte{0, 31, 2, 29, 4, 27, 6, 25, 8, 23, 10, 21, 12, 19, 14, 17}, v128, v128),
		vector(82, nil, v128, v128, v128), vector(28, []byte{3}, v128, i32), vector(30, []byte{1}, v128, i64)},
}

// expression leaves a value of the type.
func (g *generator) expression(t byte, depth int) {
	c := &g.code
	g.size--
	choice := g.IntN(100)
	if depth > 5 || g.size < 0 {
		choice = g.IntN(45)
	}
	switch {
	case choice < 12:
		c.op(g.constant(t)...)
	case choice < 36:
		if l, ok := g.local(t); ok {
			c.get(l)
			return
		}
		c.op(g.constant(t)...)
	case choice < 42:
		for i, v := range g.variables {
			if v == t && i != budget && g.chance(60) {
				c.u(0x23, uint32(i))
				return
			}
		}
		c.op(g.constant(t)...)
	case choice < 45:
		if t == i32 && g.chance(50) {
			c.u(0x3f, 0)
			return
		}
		c.op(g.constant(t)...)
	case choice < 70:
		list := computations[t]
		o := list[g.IntN(len(list))]
		if g.compiled && len(o.params) == 3 { // bitselect
			o = list[0]
		}
		for _, p := range o.params {
			g.expression(p, depth+1)
		}
		c.op(o.code...)
		g.quiet(t)
	case choice < 84:
		var fit []access
		for _, l := range loads {
			if l.operand == t {
				fit = append(fit, l)
			}
		}
		l := fit[g.IntN(len(fit))]
		g.address(depth + 1)
		if l.lanes > 0 {
			g.expression(v128, depth+1)
		}
		g.access(l)
		g.quiet(t)
	case choice < 88:
		g.expression(t, depth+1)
		if l, ok := g.assignable(t); ok {
			c.u(0x22, l)
		}
	case choice < 91 && (t == i32 || t == i64 || !g.compiled):
		g.expression(t, depth+1)
		g.expression(t, depth+1)
		g.expression(i32, depth+1)
		if g.chance(50) {
			c.op(0x1b)
		} else {
			c.op(0x1c, 1, t)
		}
	case choice < 95:
		g.expression(i32, depth+1)
		c.block(0x04, t)
		g.labels = append(g.labels, []byte{t})
		g.expression(t, depth+1)
		c.op(0x05)
		g.expression(t, depth+1)
		g.close()
	case choice < 98:
		c.block(0x02, t)
		g.labels = append(g.labels, []byte{t})
		g.expression(t, depth+1)
		if g.chance(60) {
			g.expression(i32, depth+1)
			c.u(0x0d, 0)
		}
		g.close()
	default: // division, of which some trap
		switch t {
		case i32:
			g.expression(i32, depth+1)
			g.expression(i32, depth+1)
			if g.chance(90) {
				c.i32(1).op(0x72)
			}
			c.op(0x6d + byte(g.IntN(4)))
		case i64:
			g.expression(i64, depth+1)
			g.expression(i64, depth+1)
			if g.chance(90) {
				c.i64(1).op(0x84)
			}
			c.op(0x7f + byte(g.IntN(4)))
		default:
			c.op(g.constant(t)...)
		}
	}
}

// quiet makes a NaN the canonical one: which bits it has is up to the engine.
func (g *generator) quiet(t byte) {
	if t != f32 && t != f64 {
		return
	}
	x := uint32(len(g.locals))
	g.locals = append(g.locals, t)
	c := &g.code
	c.u(0x22, x).get(x)
	if t == f32 {
		c.op(0x5b)
	} else {
		c.op(0x61)
	}
	c.block(0x04, t).get(x).op(0x05).op(g.constant(t)...).end()
}
