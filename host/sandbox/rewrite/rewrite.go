// Package rewrite changes WebAssembly modules when they are loaded, so that
// their work is metered and what they write can be undone. It parses, checks
// and encodes modules; it runs nothing and knows nothing of who does.
//
// Metering: an i64 global, the fuel, counts down by the number of instructions
// at function entries and loop headers, and at larger branches between them;
// below zero the guest calls the host. Tracking: the first store to each chunk
// of memory is told to the host, by marks in a table that guest code can't
// name. Both leave the meaning of the module as it was.
package rewrite

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// Version changes when the same input leads to other output: it is part of the
// key under which rewritten modules are cached.
const Version = 2

// What a rewritten module imports.
const (
	// Module is the import module of all of them.
	Module = "provost:sandbox"
	// Refill gets the fuel, below zero, and returns the fuel to go on with:
	// (i64) -> i64. It is imported when metering.
	Refill = "refill"
)

// What a rewritten module exports, beside its own. Own exports can't begin
// with Reserved.
const (
	Reserved = "provost:"
	// Fuel is the i64 global that counts down.
	Fuel = Reserved + "fuel"
	// Stale is an i32 global that is not 0 once the guest has changed what
	// can't be put back: tables, or segments dropped.
	Stale = Reserved + "stale"
	// Hidden is an i32 global: how many pages of the memory, at its end, the
	// guest does not know that it has.
	Hidden = Reserved + "hidden"
	// Refused is an i32 global: by how many pages the guest last asked to grow
	// the memory, and could not.
	Refused = Reserved + "refused"
	// Arm takes all marks away: () -> (). It must be called before the first
	// Collect; until then everything counts as marked.
	Arm = Reserved + "arm"
	// Collect takes the marks away and returns how many there were: () -> i32.
	// It leaves their chunks' numbers, little-endian u32, at the beginning of
	// the memory, over what was there. A mark of chunk n says that something
	// may have been written in n or the chunk behind it, modulo their number.
	Collect = Reserved + "collect"
)

// GlobalName is the name under which a mutable global is exported.
func GlobalName(index uint32) string { return fmt.Sprintf("%sglobal.%d", Reserved, index) }

const (
	// ChunkBits is the width of a chunk of memory.
	ChunkBits  = 12
	ChunkBytes = 1 << ChunkBits

	pageBytes = 64 << 10
)

// Options say what is changed.
type Options struct {
	// Meter adds fuel.
	Meter bool
	// Track adds marks of what was written, exports the mutable globals, and
	// makes the pages of a grown memory hideable.
	Track bool
	// DetachData takes the contents of active data segments out of the
	// module, into Result.Data; the host applies them. It does so only where
	// every offset is a constant and there is no start function.
	DetachData bool
	// MaxPages and MaxTable bound the growth of memory and of each table;
	// 0 leaves them as they are. A module that begins above them is refused.
	MaxPages, MaxTable uint32
	// MaxFunctions, MaxBody (bytes of one function) and MaxTargets (of all
	// br_tables of one function) bound what a compiler is fed; 0 is no bound.
	MaxFunctions, MaxBody, MaxTargets int
}

// Result is a rewritten module and what was learned about it.
type Result struct {
	Wasm []byte
	// Data are the detached segments, in their order.
	Data []Segment
	// Detached tells that Data is all of the active segments.
	Detached bool
	// Globals are the mutable globals that were exported, by their indexes.
	Globals []Global
	// Imports are the tables and globals that come from outside, in words.
	Imports []string
	// HasMemory tells that the module defines a memory, of MinPages; tracking
	// has Chunks marks for it.
	HasMemory bool
	MinPages  uint32
	Chunks    uint32
	// Functions, Checks, Charges and Marks count what was found and added.
	Functions, Checks, Charges, Marks int
}

// Segment is an active data segment.
type Segment struct {
	Offset uint32
	Bytes  []byte
}

// Global is a mutable global of the module's own.
type Global struct {
	Index uint32
	// Type is the value type as encoded: 0x7f i32, 0x7e i64, 0x7d f32,
	// 0x7c f64, 0x7b v128, 0x70 funcref, 0x6f externref.
	Type byte
}

// Error is a module that can't be rewritten: it is malformed, passes a bound,
// or needs what is not offered.
type Error struct {
	// Limit is which bound it passes: functions, function, table_entries,
	// memory or targets of [Options], or one that stands: entries, locals,
	// nesting or values; "" for none.
	Limit string
	// Offset is the position in the module.
	Offset  int
	Message string
}

func (e *Error) Error() string { return fmt.Sprintf("at byte %d: %s", e.Offset, e.Message) }

// Rewrite returns the changed module. The bytes given are not changed and may
// be shared with the result. Every error is an *[Error]. A module that is not
// valid is refused, or leads to one that is not valid either: whoever compiles
// the result must validate it.
func Rewrite(wasm []byte, o Options) (result *Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			e, ok := p.(*Error)
			if !ok {
				panic(p)
			}
			result, err = nil, e
		}
	}()
	m := &module{options: o, in: reader{b: wasm}}
	m.parse()
	return m.rewrite(), nil
}

// section is one of the module's, its contents from start to end.
type section struct {
	id         byte
	start, end int
}

type funcType struct{ params, results []byte }

type limits struct {
	flags    byte
	min, max uint32
}

type table struct {
	kind byte
	limits
}

type module struct {
	options Options
	in      reader
	out     Result

	sections []section // without custom ones, in their order
	names    section   // the name section, if any

	types []funcType
	// importedFuncs … are how many come from outside; they have the lowest
	// indexes.
	importedFuncs, importedTables, importedMemories, importedGlobals uint32
	functions                                                        []uint32 // types of all functions
	tables                                                           []table  // of all
	memories                                                         []limits // of all
	globals                                                          []Global // of all; Index tells mutable
	mutable                                                          []bool
	dataCount                                                        uint32
	hasDataCount                                                     bool
	elements                                                         uint32
	codes                                                            []section // the bodies

	// where what is added stands
	added                                                 uint32 // imported functions
	refill                                                uint32 // functions
	markRange, grow, arm, collect                         uint32
	fuel, stale, hidden, refused                          uint32 // globals
	marks                                                 uint32 // table
	typeRefill, typeArm, typeRange, typeGrow, typeCollect uint32
	track, trackMemory, metered, staleTracked             bool
	maskChunks                                            uint32
	code                                                  coder
}

var sectionNames = map[byte]string{1: "type", 2: "import", 3: "function", 4: "table", 5: "memory", 6: "global", 7: "export",
	8: "start", 9: "element", 10: "code", 11: "data", 12: "data count", 13: "tag"}

// order is the place of each section; data count stands before code.
var order = map[byte]int{1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 13: 6, 6: 7, 7: 8, 8: 9, 9: 10, 12: 11, 10: 12, 11: 13}

// listed are the sections that may have mostEntries, about what the engines of
// the web take: an entry of two bytes takes a hundred times that and more.
var listed = []byte{1, 2, 4, 6, 7, 9, 11}

const mostEntries = 100_000

func (m *module) parse() {
	r := &m.in
	if len(r.b) < 8 || string(r.b[:4]) != "\x00asm" {
		r.fail("no WebAssembly: it does not begin with \\0asm")
	}
	if string(r.b[4:8]) != "\x01\x00\x00\x00" {
		r.fail("WebAssembly of another version than 1, or a component")
	}
	r.i = 8
	last := 0
	for r.i < len(r.b) {
		id := r.byte()
		size := int(r.u32())
		if size > len(r.b)-r.i {
			r.fail("the section has %d bytes and the module ends before", size)
		}
		s := section{id, r.i, r.i + size}
		r.i = s.end
		if id == 0 {
			m.custom(s)
			continue
		}
		switch {
		case id == 13:
			r.fail("exception handling is not supported")
		case order[id] == 0:
			r.fail("there is no section %d", id)
		case order[id] <= last:
			r.fail("the %s section stands in the wrong place, or twice", sectionNames[id])
		}
		last = order[id]
		m.sections = append(m.sections, s)
	}
	for _, s := range m.sections {
		m.section(s)
	}
	if len(m.codes) != len(m.functions)-int(m.importedFuncs) {
		r.fail("%d functions are declared and %d have a body", len(m.functions)-int(m.importedFuncs), len(m.codes))
	}
}

func (m *module) custom(s section) {
	r := reader{b: m.in.b[:s.end], i: s.start}
	if r.name() == "name" && m.names.end == 0 {
		m.names = section{0, r.i, s.end}
	}
}

// section reads what the rest needs to know; it must end where it says.
func (m *module) section(s section) {
	r := &reader{b: m.in.b[:s.end], i: s.start}
	if slices.Contains(listed, s.id) {
		if n := (&reader{b: r.b, i: r.i}).count(); n > mostEntries {
			r.limit("entries", "the %s section has %d entries; the limit is %d", sectionNames[s.id], n, mostEntries)
		}
	}
	switch s.id {
	case 1:
		for range r.count() {
			if form := r.byte(); form != 0x60 {
				r.fail("a type of the form %#x is not supported", form)
			}
			m.types = append(m.types, funcType{r.valueTypes(), r.valueTypes()})
		}
	case 2:
		for range r.count() {
			module := r.name()
			name := r.name()
			if module == Module {
				r.fail("the import module %s is reserved", Module)
			}
			switch kind := r.byte(); kind {
			case 0:
				m.functions = append(m.functions, m.typeIndex(r))
				m.importedFuncs++
			case 1:
				m.tables = append(m.tables, m.tableType(r))
				m.importedTables++
				m.out.Imports = append(m.out.Imports, module+" "+name+" (table)")
			case 2:
				m.memories = append(m.memories, m.memoryType(r))
				m.importedMemories++
			case 3:
				t, mut := r.valueType(), r.byte()
				m.globals, m.mutable = append(m.globals, Global{Type: t}), append(m.mutable, mut == 1)
				m.importedGlobals++
				m.out.Imports = append(m.out.Imports, module+" "+name+" (global)")
			default:
				r.fail("an import of kind %d is not supported", kind)
			}
		}
	case 3:
		n := r.count()
		if most := m.options.MaxFunctions; most > 0 && n > most {
			r.limit("functions", "the module has %d functions; the limit is %d", n, most)
		}
		m.out.Functions = n
		for range n {
			m.functions = append(m.functions, m.typeIndex(r))
		}
	case 4:
		for range r.count() {
			t := m.tableType(r)
			if most := m.options.MaxTable; most > 0 && t.min > most {
				r.limit("table_entries", "a table begins with %d entries; the limit is %d", t.min, most)
			}
			m.tables = append(m.tables, t)
		}
	case 5:
		for range r.count() {
			l := m.memoryType(r)
			if most := m.options.MaxPages; most > 0 && l.min > most {
				r.limit("memory", "the memory begins with %d bytes; the limit is %d", uint64(l.min)*pageBytes, uint64(most)*pageBytes)
			}
			m.memories = append(m.memories, l)
			m.out.HasMemory, m.out.MinPages = true, l.min
		}
		if len(m.memories) > 1 {
			r.fail("more than one memory is not supported")
		}
	case 6:
		for range r.count() {
			t, mut := r.valueType(), r.byte()
			if mut > 1 {
				r.fail("a global's mutability is 0 or 1, not %d", mut)
			}
			m.constant(r, nil)
			m.globals, m.mutable = append(m.globals, Global{Index: uint32(len(m.globals)), Type: t}), append(m.mutable, mut == 1)
		}
	case 7:
		for range r.count() {
			name := r.name()
			kind, index := r.byte(), r.u32()
			if kind > 3 {
				r.fail("an export of kind %d is not supported", kind)
			}
			if kind == 0 {
				m.checkFunction(r, index)
			}
			if kind == 1 && int(index) >= len(m.tables) || kind == 2 && int(index) >= len(m.memories) || kind == 3 && int(index) >= len(m.globals) {
				r.fail("the export %q names nothing", name)
			}
			if strings.HasPrefix(name, Reserved) {
				r.fail("the export %q has a reserved name", name)
			}
		}
	case 8:
		m.checkFunction(r, r.u32())
	case 9:
		n := r.count()
		m.elements = uint32(n)
		for range n {
			m.element(r, nil)
		}
	case 10:
		n := r.count()
		for range n {
			size := int(r.u32())
			if size > s.end-r.i {
				r.fail("the function has %d bytes and the section ends before", size)
			}
			if most := m.options.MaxBody; most > 0 && size > most {
				r.limit("function", "a function has %d bytes; the limit is %d", size, most)
			}
			m.codes = append(m.codes, section{10, r.i, r.i + size})
			r.i += size
		}
	case 11:
		n := r.count()
		if m.hasDataCount && uint32(n) != m.dataCount {
			r.fail("there are %d data segments and %d were announced", n, m.dataCount)
		}
		for range n {
			m.data(r, nil)
		}
	case 12:
		m.dataCount, m.hasDataCount = r.u32(), true
	}
	if r.i != s.end {
		r.fail("the %s section does not end where it says", sectionNames[s.id])
	}
}

func (m *module) typeIndex(r *reader) uint32 {
	i := r.u32()
	if int(i) >= len(m.types) {
		r.fail("there is no type %d", i)
	}
	return i
}

func (m *module) checkFunction(r *reader, i uint32) {
	if int(i) >= len(m.functions) {
		r.fail("there is no function %d", i)
	}
}

func (m *module) tableType(r *reader) table {
	kind := r.byte()
	if kind != 0x70 && kind != 0x6f {
		r.fail("a table of the type %#x is not supported", kind)
	}
	return table{kind, r.limits()}
}

func (m *module) memoryType(r *reader) limits {
	l := r.limits()
	if l.flags > 1 {
		r.fail("a shared or a 64-bit memory is not supported")
	}
	return l
}

// constant reads a constant expression; with w it writes it with the
// functions' new indexes. It returns the value where it is one i32.const.
func (m *module) constant(r *reader, w *writer) (value uint32, plain bool) {
	for n := 0; ; n++ {
		start := r.i
		switch op := r.byte(); op {
		case 0x0b:
			w.raw(r.b[start:r.i])
			return value, plain && n == 1
		case 0x41:
			value, plain = uint32(r.s32()), true
		case 0x42:
			r.s64()
		case 0x43:
			r.skip(4)
		case 0x44:
			r.skip(8)
		case 0x23:
			if i := r.u32(); int(i) >= len(m.globals) {
				r.fail("there is no global %d", i)
			}
		case 0xd0:
			r.byte()
		case 0xd2:
			i := r.u32()
			m.checkFunction(r, i)
			w.byte(0xd2)
			w.u32(m.function(i))
			continue
		case 0x6a, 0x6b, 0x6c, 0x7c, 0x7d, 0x7e: // extended constants
		case 0xfd:
			if sub := r.u32(); sub != 12 {
				r.fail("the instruction 0xfd %d is not constant", sub)
			}
			r.skip(16)
		default:
			r.fail("the instruction %#x is not constant", op)
		}
		w.raw(r.b[start:r.i])
	}
}

// function is the new index of a function.
func (m *module) function(i uint32) uint32 {
	if i < m.importedFuncs {
		return i
	}
	return i + m.added
}

// element reads an element segment and, with w, writes it.
func (m *module) element(r *reader, w *writer) {
	flags := r.u32()
	if flags > 7 {
		r.fail("an element segment of the kind %d is not supported", flags)
	}
	w.u32(flags)
	if flags&1 == 0 { // active
		if flags&2 != 0 {
			t := r.u32()
			if int(t) >= len(m.tables) {
				r.fail("there is no table %d", t)
			}
			w.u32(t)
		} else if len(m.tables) == 0 {
			r.fail("an element segment needs a table")
		}
		m.constant(r, w)
	}
	if flags&3 != 0 { // a kind or a type stands here
		kind := r.byte()
		if flags&4 == 0 && kind != 0 {
			r.fail("an element kind is 0, not %d", kind)
		}
		w.byte(kind)
	}
	n := r.count()
	w.u32(uint32(n))
	for range n {
		if flags&4 != 0 {
			m.constant(r, w)
			continue
		}
		i := r.u32()
		m.checkFunction(r, i)
		w.u32(m.function(i))
	}
}

// data reads a data segment and, with w, writes it.
func (m *module) data(r *reader, w *writer) {
	start := r.i
	flags := r.u32()
	if flags > 2 {
		r.fail("a data segment of the kind %d is not supported", flags)
	}
	var offset uint32
	constant := true
	if flags != 1 {
		if flags == 2 {
			if i := r.u32(); i != 0 {
				r.fail("there is no memory %d", i)
			}
		}
		if len(m.memories) == 0 {
			r.fail("a data segment needs a memory")
		}
		offset, constant = m.constant(r, nil)
	}
	b := r.bytes()
	if w == nil {
		if flags != 1 {
			m.out.Data = append(m.out.Data, Segment{offset, b})
			m.out.Detached = (len(m.out.Data) == 1 || m.out.Detached) && constant
		}
		return
	}
	if flags != 1 && m.out.Detached {
		w.raw([]byte{0, 0x41, 0, 0x0b, 0}) // empty, at 0: the indexes stay
		return
	}
	w.raw(r.b[start:r.i])
}

// plan decides what is added and where it stands.
func (m *module) plan() {
	o := m.options
	m.metered = o.Meter
	m.track = o.Track
	m.trackMemory = o.Track && len(m.memories) > 0
	types := uint32(len(m.types))
	m.typeRefill, m.typeArm, m.typeRange, m.typeGrow, m.typeCollect = types, types+1, types+2, types+3, types+4
	next := m.importedFuncs
	if m.metered {
		m.refill, next = next, next+1
	}
	m.added = next - m.importedFuncs
	next = uint32(len(m.functions)) + m.added
	if m.trackMemory {
		m.markRange, m.grow, m.arm, m.collect = next, next+1, next+2, next+3
		pages := uint32(65536)
		if m.memories[0].flags&1 != 0 {
			pages = min(pages, m.memories[0].max)
		}
		if o.MaxPages > 0 {
			pages = min(pages, o.MaxPages)
		}
		pages = max(pages, 1)
		m.out.Chunks = 1 << bits.Len32(pages*(pageBytes/ChunkBytes)-1)
		m.maskChunks = m.out.Chunks - 1
	}
	globals := uint32(len(m.globals))
	m.fuel = globals
	if m.metered {
		globals++
	}
	m.stale, m.hidden, m.refused = globals, globals+1, globals+2
	m.marks = uint32(len(m.tables))
	if o.Track {
		for i, g := range m.globals {
			if uint32(i) >= m.importedGlobals && m.mutable[i] {
				m.out.Globals = append(m.out.Globals, g)
			}
		}
	}
	started := slices.ContainsFunc(m.sections, func(s section) bool { return s.id == 8 })
	if !o.DetachData || !m.out.HasMemory || started { // a start function finds its data in place
		m.out.Detached = false
	}
	if !m.out.Detached {
		m.out.Data = nil
	}
}
