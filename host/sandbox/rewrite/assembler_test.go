package rewrite_test

import "encoding/binary"

// Value types.
const (
	i32       byte = 0x7f
	i64       byte = 0x7e
	f32       byte = 0x7d
	f64       byte = 0x7c
	v128      byte = 0x7b
	funcref   byte = 0x70
	externref byte = 0x6f
	void      byte = 0x40
)

// code is instructions.
type code []byte

func (c *code) op(b ...byte) *code {
	*c = append(*c, b...)
	return c
}

func (c *code) u(op byte, immediates ...uint32) *code {
	*c = append(*c, op)
	for _, v := range immediates {
		*c = binary.AppendUvarint(*c, uint64(v))
	}
	return c
}

// x is an instruction behind a prefix.
func (c *code) x(prefix byte, sub uint32, immediates ...uint32) *code {
	return c.u(prefix, append([]uint32{sub}, immediates...)...)
}

func (c *code) signed(v int64) *code {
	for {
		b := byte(v & 0x7f)
		v >>= 7
		if v == 0 && b&0x40 == 0 || v == -1 && b&0x40 != 0 {
			*c = append(*c, b)
			return c
		}
		*c = append(*c, b|0x80)
	}
}

func (c *code) i32(v int32) *code       { return c.op(0x41).signed(int64(v)) }
func (c *code) i64(v int64) *code       { return c.op(0x42).signed(v) }
func (c *code) get(local uint32) *code  { return c.u(0x20, local) }
func (c *code) set(local uint32) *code  { return c.u(0x21, local) }
func (c *code) call(f uint32) *code     { return c.u(0x10, f) }
func (c *code) end() *code              { return c.op(0x0b) }
func (c *code) block(op, t byte) *code  { return c.op(op, t) }
func (c *code) bytes(b []byte) *code    { return c.u32(uint32(len(b))).op(b...) }
func (c *code) u32(v uint32) *code      { *c = binary.AppendUvarint(*c, uint64(v)); return c }
func (c *code) name(s string) *code     { return c.bytes([]byte(s)) }
func (c *code) list(items []code) *code { return c.u32(uint32(len(items))).join(items) }
func (c *code) join(items []code) *code {
	for _, i := range items {
		c.op(i...)
	}
	return c
}

// build is a module to be put together. Each list has encoded items.
type build struct {
	types, imports, functions, tables, memories, globals, exports, elements, codes, datas []code

	start     *uint32
	dataCount bool
	names     map[uint32]string
	tail      code // custom sections

	importedFunctions, importedGlobals uint32
}

// typed returns the index of a function type.
func (b *build) typed(params, results []byte) uint32 {
	var t code
	t.op(0x60).bytes(params).bytes(results)
	for i, have := range b.types {
		if string(have) == string(t) {
			return uint32(i)
		}
	}
	b.types = append(b.types, t)
	return uint32(len(b.types) - 1)
}

// host imports a function. All imports stand before everything else.
func (b *build) host(module, name string, params, results []byte) uint32 {
	t := b.typed(params, results)
	b.imports = append(b.imports, *new(code).name(module).name(name).op(0).u32(t))
	b.importedFunctions++
	return b.importedFunctions - 1
}

// function adds a function; its body gets its end here.
func (b *build) function(params, results, locals []byte, body code) uint32 {
	f := b.declare(b.typed(params, results))
	b.define(locals, body)
	return f
}

func (b *build) declare(t uint32) uint32 {
	b.functions = append(b.functions, *new(code).u32(t))
	return b.importedFunctions + uint32(len(b.functions)) - 1
}

func (b *build) define(locals []byte, body code) {
	var groups []code
	for i := 0; i < len(locals); {
		n := i
		for n < len(locals) && locals[n] == locals[i] {
			n++
		}
		groups = append(groups, *new(code).u32(uint32(n - i)).op(locals[i]))
		i = n
	}
	b.codes = append(b.codes, *new(code).bytes(*new(code).list(groups).op(body...).end()))
}

func (b *build) table(kind byte, least, most int) {
	b.tables = append(b.tables, *new(code).op(kind).op(bounds(least, most)...))
}

func (b *build) memory(least, most int) { b.memories = append(b.memories, bounds(least, most)) }

// bounds are limits; most below 0 is none.
func bounds(least, most int) code {
	if most < 0 {
		return *new(code).op(0).u32(uint32(least))
	}
	return *new(code).op(1).u32(uint32(least)).u32(uint32(most))
}

func (b *build) global(t byte, mutable bool, value code) uint32 {
	g := *new(code).op(t, 0).op(value...).end()
	if mutable {
		g[1] = 1
	}
	b.globals = append(b.globals, g)
	return b.importedGlobals + uint32(len(b.globals)) - 1
}

func (b *build) export(name string, kind byte, index uint32) {
	b.exports = append(b.exports, *new(code).name(name).op(kind).u32(index))
}

// data adds an active segment.
func (b *build) data(offset int32, content []byte) {
	b.datas = append(b.datas, *new(code).op(0).i32(offset).end().bytes(content))
}

func (b *build) passiveData(content []byte) {
	b.datas = append(b.datas, *new(code).op(1).bytes(content))
}

// element adds an active segment of functions for the table 0.
func (b *build) element(offset int32, functions ...uint32) {
	b.elements = append(b.elements, *new(code).op(0).i32(offset).end().indexes(functions))
}

func (b *build) passiveElement(functions ...uint32) {
	b.elements = append(b.elements, *new(code).op(1, 0).indexes(functions))
}

func (c *code) indexes(list []uint32) *code {
	c.u32(uint32(len(list)))
	for _, v := range list {
		c.u32(v)
	}
	return c
}

// wasm is the module.
func (b *build) wasm() []byte {
	out := code("\x00asm\x01\x00\x00\x00")
	section := func(id byte, items []code) {
		if len(items) > 0 {
			out.op(id).bytes(*new(code).list(items))
		}
	}
	section(1, b.types)
	section(2, b.imports)
	section(3, b.functions)
	section(4, b.tables)
	section(5, b.memories)
	section(6, b.globals)
	section(7, b.exports)
	if b.start != nil {
		out.op(8).bytes(*new(code).u32(*b.start))
	}
	section(9, b.elements)
	if b.dataCount {
		out.op(12).bytes(*new(code).u32(uint32(len(b.datas))))
	}
	section(10, b.codes)
	section(11, b.datas)
	if b.names != nil {
		var list []code
		for i := range b.importedFunctions + uint32(len(b.functions)) {
			if name, ok := b.names[i]; ok {
				list = append(list, *new(code).u32(i).name(name))
			}
		}
		out.op(0).bytes(*new(code).name("name").op(1).bytes(*new(code).list(list)))
	}
	return append(out, b.tail...)
}
