package sandbox

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"sort"
	"time"

	"github.com/tetratelabs/wazero/api"
)

// kernelModule is the import module of the Extism ABI.
const kernelModule = "extism:host/env"

type kernelKey struct{}

// kernelOf is the kernel of the instance that calls.
func kernelOf(ctx context.Context) *kernel { return ctx.Value(kernelKey{}).(*kernel) }

// kernel is the host's side of the Extism ABI for the calls of one instance.
// Its memory is a space of its own that the guest reaches only by load and
// store; a block's offset is its handle. Offsets begin above 0, since 0 means
// none.
type kernel struct {
	limits   Limits
	instance *instance
	env      Env
	ctx      context.Context

	started time.Time
	meter   meter
	// turns are those of the runtime; turn is when this call got the one that
	// it has, zero for none, and waited how long it has waited for them.
	turns  *turns
	turn   time.Time
	waited time.Duration
	ending ending
	// exceeded says what ended the call, and limit which one, for endLimit.
	exceeded, limit string
	// overflowed tells that the guest's stack grew to its end.
	overflowed bool

	input   []byte
	output  []byte
	failure []byte // what error_set was given; nil for none

	blocks []block // ordered by offset
	slab   []byte  // small blocks are cut from here
	used   int     // of slab
	spare  []byte  // a block that was given back, all zeros
	next   uint64
	held   int64

	vars     map[string][]byte
	varBytes int

	status       int32
	header       []byte
	httpCalls    int
	httpOut      int64
	httpIn       int64
	httpDuration time.Duration

	logLines, logBytes int
	recent             []string
	printed            lineWriter
}

// ending is who ended a call before the guest did.
type ending int

const (
	endNot ending = iota
	endTime
	endLimit
	endCancelled
)

type block struct {
	offset uint64
	data   []byte
	shared bool // data is somebody else's: copy it before it is changed
	slab   bool // data is a part of the kernel's slab
}

const (
	slabBytes   = 32 << 10
	firstOffset = 16
)

func newKernel(limits Limits, turns *turns) *kernel {
	k := &kernel{limits: limits, turns: turns, slab: make([]byte, slabBytes), next: firstOffset, ctx: context.Background()}
	k.printed.write = func(line string) { k.log(slog.LevelInfo, line) }
	return k
}

// begin makes the kernel that of a new call.
func (k *kernel) begin(ctx context.Context, input []byte, env Env) {
	k.end()
	k.ctx, k.input, k.env = ctx, input, env
	k.started = time.Now()
	k.meter.begin(k.started)
}

// end forgets the call.
func (k *kernel) end() {
	clear(k.slab[:k.used])
	clear(k.blocks)
	*k = kernel{limits: k.limits, turns: k.turns, instance: k.instance, ctx: context.Background(), blocks: k.blocks[:0], slab: k.slab, next: firstOffset,
		overflowed: k.overflowed, printed: lineWriter{buf: k.printed.buf[:0], write: k.printed.write}}
}

// trap ends the guest. wazero turns the panic into the call's error.
func trap(format string, args ...any) { panic(fmt.Errorf(format, args...)) }

// exceed ends the call because of a limit.
func (k *kernel) exceed(limit, format string, args ...any) {
	k.ending, k.limit, k.exceeded = endLimit, limit, fmt.Sprintf(format, args...)
	trap("%s", k.exceeded)
}

// check ends the call when its time is up or nobody waits for it any more.
func (k *kernel) check(now time.Time) {
	if k.ctx.Err() != nil {
		k.ending = endCancelled
		trap("cancelled")
	}
	if k.computed(now) > k.limits.Time {
		k.ending = endTime
		trap("time is up")
	}
}

// put stores data as a new block and returns its offset; 0 for no data. The
// data stays the caller's.
func (k *kernel) put(data []byte) uint64 {
	if len(data) == 0 {
		return 0
	}
	offset := k.reserve(uint64(len(data)))
	k.blocks = append(k.blocks, block{offset: offset, data: data, shared: true})
	return offset
}

func (k *kernel) alloc(n uint64) uint64 {
	if n == 0 {
		return 0
	}
	offset := k.reserve(n)
	var data []byte
	left := uint64(len(k.slab) - k.used)
	if n <= left {
		data = k.slab[k.used : k.used+int(n) : k.used+int(n)]
		k.used += int(n)
	} else if n <= uint64(len(k.spare)) {
		data, k.spare = k.spare[:n:n], nil
	} else {
		k.spend(n)
		data = make([]byte, n)
	}
	k.blocks = append(k.blocks, block{offset: offset, data: data, slab: n <= left})
	return offset
}

func (k *kernel) reserve(n uint64) uint64 {
	if n > uint64(k.limits.kernelBytes()) || k.held+int64(n) > k.limits.kernelBytes() {
		k.exceed("host_memory", "asked the host for more than %d bytes of memory", k.limits.kernelBytes())
	}
	if len(k.blocks) >= mostBlocks {
		k.exceed("host_memory", "holds more than %d blocks of the host's memory", mostBlocks)
	}
	offset := k.next
	k.held += int64(n)
	k.next += (n + 15) &^ 15
	return offset
}

const mostBlocks = 1 << 16

// find returns the index of the block that holds offset, -1 for none.
func (k *kernel) find(offset uint64) int {
	i := sort.Search(len(k.blocks), func(i int) bool { return k.blocks[i].offset > offset }) - 1
	if i < 0 || offset-k.blocks[i].offset >= uint64(len(k.blocks[i].data)) {
		return -1
	}
	return i
}

// at returns n bytes from offset, which must lie in one block.
func (k *kernel) at(offset, n uint64) []byte {
	i := k.find(offset)
	if i < 0 {
		trap("the offset %d is in no block of the host's memory", offset)
	}
	data := k.blocks[i].data[offset-k.blocks[i].offset:]
	if n > uint64(len(data)) {
		trap("%d bytes from the offset %d reach beyond their block", n, offset)
	}
	return data[:n]
}

// change is at for bytes that are going to be changed.
func (k *kernel) change(offset, n uint64) []byte {
	if i := k.find(offset); i >= 0 && k.blocks[i].shared {
		k.spend(uint64(len(k.blocks[i].data)))
		k.blocks[i].data, k.blocks[i].shared = append([]byte(nil), k.blocks[i].data...), false
	}
	return k.at(offset, n)
}

// whole returns the block that begins at offset. That of nothing is 0: PDKs
// pass it on for an empty string.
func (k *kernel) whole(offset uint64) []byte {
	if offset == 0 {
		return nil
	}
	i := k.find(offset)
	if i < 0 || k.blocks[i].offset != offset {
		trap("the offset %d is not that of a block of the host's memory", offset)
	}
	return k.blocks[i].data
}

func (k *kernel) free(offset uint64) {
	if i := k.find(offset); i >= 0 && k.blocks[i].offset == offset {
		k.held -= int64(len(k.blocks[i].data))
		k.reuse(k.blocks[i])
		k.spend(uint64(len(k.blocks) - i))
		k.blocks = append(k.blocks[:i], k.blocks[i+1:]...)
	}
}

// reuse lets the next alloc have the memory of a block that is freed, so that a
// guest that only asks and gives back makes no garbage.
func (k *kernel) reuse(b block) {
	n := len(b.data)
	switch {
	case b.shared || n == 0:
	case b.slab && &b.data[0] == &k.slab[k.used-n]: // the last one
		clear(b.data)
		k.used -= n
	case !b.slab && n > len(k.spare) && n <= mostSpare:
		k.spend(uint64(n))
		clear(b.data)
		k.spare = b.data
	}
}

const mostSpare = 64 << 10

func (k *kernel) length(offset uint64) uint64 {
	if i := k.find(offset); i >= 0 && k.blocks[i].offset == offset {
		return uint64(len(k.blocks[i].data))
	}
	return 0
}

// load64 reads up to eight bytes; a block whose length is no multiple of eight
// reads as if zeros followed.
func (k *kernel) load64(offset uint64) uint64 {
	i := k.find(offset)
	if i < 0 {
		trap("the offset %d is in no block of the host's memory", offset)
	}
	return word(k.blocks[i].data[offset-k.blocks[i].offset:])
}

func word(b []byte) uint64 {
	if len(b) >= 8 {
		return binary.LittleEndian.Uint64(b)
	}
	var w [8]byte
	copy(w[:], b)
	return binary.LittleEndian.Uint64(w[:])
}

// guest returns n bytes of the guest's memory, nil where they lie outside.
func (k *kernel) guest(pointer, n uint32) []byte {
	b := k.instance.bytes()
	if uint64(pointer)+uint64(n) > uint64(len(b)) {
		return nil
	}
	return b[pointer : pointer+n : pointer+n]
}

// guestTo is guest for bytes that are going to be changed.
func (k *kernel) guestTo(pointer, n uint32) []byte {
	b := k.guest(pointer, n)
	if len(b) > 0 {
		for c := pointer / chunkBytes; c <= (pointer+n-1)/chunkBytes; c++ {
			k.instance.wrote(c)
		}
	}
	return b
}

func (k *kernel) setVar(name string, value []byte) {
	if old, ok := k.vars[name]; ok {
		k.varBytes -= len(name) + len(old)
	}
	if value == nil {
		delete(k.vars, name)
		return
	}
	if k.varBytes+len(value)+len(name) > k.limits.VarBytes {
		k.exceed("vars", "kept more than %d bytes in vars", k.limits.VarBytes)
	}
	if k.vars == nil {
		k.vars = map[string][]byte{}
	}
	k.spend(uint64(len(value)))
	k.vars[name] = append([]byte(nil), value...)
	k.varBytes += len(name) + len(value)
}

const recentLogs = 10

// log takes one line of the guest's. What goes beyond the limits is dropped.
func (k *kernel) log(level slog.Level, line string) {
	k.spend(uint64(len(line)))
	line = clip(line, longestLine)
	if k.logLines >= k.limits.LogLines || k.logBytes+len(line) > k.limits.LogBytes {
		k.logLines++
		return
	}
	k.logLines++
	k.logBytes += len(line)
	if len(k.recent) == recentLogs {
		k.recent = k.recent[1:]
	}
	k.recent = append(k.recent, line)
	if k.env.Log != nil {
		k.env.Log(level, line)
	}
}

// http performs one request of the guest and returns the offset of the
// answer's body.
func (k *kernel) http(request, body uint64) uint64 {
	k.status, k.header = 0, nil
	k.spend(uint64(len(k.whole(request))))
	if k.httpCalls++; k.httpCalls > k.limits.HTTPCalls {
		k.exceed("http_calls", "made more than %d HTTP calls", k.limits.HTTPCalls)
	}
	var r struct {
		URL     string            `json:"url"`
		Method  string            `json:"method"`
		Header  map[string]string `json:"header"`
		Headers map[string]string `json:"headers"`
	}
	if err := json.Unmarshal(k.whole(request), &r); err != nil {
		trap("http_request: the request is no JSON: %v", err)
	}
	out := &HTTPRequest{Method: r.Method, URL: r.URL, Header: r.Headers}
	if out.Header == nil {
		out.Header = r.Header
	}
	if out.Method == "" {
		out.Method = "GET"
	}
	if body != 0 {
		out.Body = append([]byte(nil), k.whole(body)...)
	}
	if k.httpOut += int64(len(out.Body)); k.httpOut > k.limits.HTTPRequestBytes {
		k.exceed("http_request", "sent more than %d bytes over HTTP", k.limits.HTTPRequestBytes)
	}
	k.check(time.Now())
	answer := &HTTPResponse{Body: []byte(`{"type":"PermissionDenied","message":"HTTP is not allowed in this call"}`)}
	if k.env.HTTP != nil {
		k.rest()
		begin := time.Now()
		answer = k.env.HTTP(k.ctx, out)
		k.httpDuration += time.Since(begin)
	}
	if k.httpIn += int64(len(answer.Body)); k.httpIn > k.limits.HTTPResponseBytes {
		k.exceed("http_response", "received more than %d bytes over HTTP", k.limits.HTTPResponseBytes)
	}
	k.status = int32(answer.Status)
	header := answer.Header
	if header == nil {
		header = map[string]string{}
	}
	b, err := json.Marshal(header)
	if err != nil { // strings always marshal
		trap("http_request: %v", err)
	}
	k.header = b
	return k.put(answer.Body)
}

type signature struct{ params, results []api.ValueType }

const (
	i32 = api.ValueTypeI32
	i64 = api.ValueTypeI64
)

func sig(params []api.ValueType, results ...api.ValueType) signature {
	return signature{params, results}
}

var (
	none = []api.ValueType(nil)
	one  = []api.ValueType{i64}
	two  = []api.ValueType{i64, i64}
)

// kernelSignatures are the functions of the Extism ABI.
var kernelSignatures = map[string]signature{
	"alloc": sig(one, i64), "free": sig(one), "length": sig(one, i64), "length_unsafe": sig(one, i64),
	"load_u8": sig(one, i32), "load_u64": sig(one, i64),
	"store_u8": sig([]api.ValueType{i64, i32}), "store_u64": sig(two),
	"input_length": sig(none, i64), "input_offset": sig(none, i64),
	"input_load_u8": sig(one, i32), "input_load_u64": sig(one, i64),
	"output_set": sig(two), "error_set": sig(one), "error_get": sig(none, i64),
	"config_get": sig(one, i64), "var_get": sig(one, i64), "var_set": sig(two),
	"http_request": sig(two, i64), "http_status_code": sig(none, i32), "http_headers": sig(none, i64),
	"log_trace": sig(one), "log_debug": sig(one), "log_info": sig(one), "log_warn": sig(one), "log_error": sig(one),
	"get_log_level": sig(none, i32),
}

// kernelFunctions do what kernelSignatures name. The stack holds the
// parameters and takes the result.
var kernelFunctions = map[string]func(k *kernel, stack []uint64){
	"alloc":         func(k *kernel, s []uint64) { s[0] = k.alloc(s[0]) },
	"free":          func(k *kernel, s []uint64) { k.free(s[0]) },
	"length":        func(k *kernel, s []uint64) { s[0] = k.length(s[0]) },
	"length_unsafe": func(k *kernel, s []uint64) { s[0] = k.length(s[0]) },
	"load_u8":       func(k *kernel, s []uint64) { s[0] = uint64(k.at(s[0], 1)[0]) },
	"load_u64":      func(k *kernel, s []uint64) { s[0] = k.load64(s[0]) },
	"store_u8":      func(k *kernel, s []uint64) { k.change(s[0], 1)[0] = byte(s[1]) },
	"store_u64":     func(k *kernel, s []uint64) { binary.LittleEndian.PutUint64(k.change(s[0], 8), s[1]) },
	"input_length":  func(k *kernel, s []uint64) { s[0] = uint64(len(k.input)) },
	"input_offset":  func(k *kernel, s []uint64) { s[0] = k.put(k.input) },
	"input_load_u8": func(k *kernel, s []uint64) {
		if s[0] >= uint64(len(k.input)) {
			trap("input_load_u8: the offset %d is beyond the input of %d bytes", s[0], len(k.input))
		}
		s[0] = uint64(k.input[s[0]])
	},
	"input_load_u64": func(k *kernel, s []uint64) {
		if s[0] >= uint64(len(k.input)) {
			trap("input_load_u64: the offset %d is beyond the input of %d bytes", s[0], len(k.input))
		}
		s[0] = word(k.input[s[0]:])
	},
	"output_set": func(k *kernel, s []uint64) {
		if s[1] == 0 {
			k.output = nil
			return
		}
		if s[1] > uint64(k.limits.Output) {
			k.exceed("output", "set an output of %d bytes; the limit is %d", s[1], k.limits.Output)
		}
		k.spend(s[1])
		k.output = append([]byte(nil), k.at(s[0], s[1])...)
	},
	"error_set": func(k *kernel, s []uint64) {
		if s[0] == 0 {
			k.failure = nil
			return
		}
		const mostError = 64 << 10
		said := k.whole(s[0])
		said = said[:min(len(said), mostError)]
		k.spend(uint64(len(said)))
		k.failure = append([]byte{}, said...)
	},
	"error_get": func(k *kernel, s []uint64) { s[0] = k.put(k.failure) },
	"config_get": func(k *kernel, s []uint64) {
		key := k.whole(s[0])
		value := k.env.Config[string(key)]
		k.spend(uint64(len(key) + len(value)))
		s[0] = k.put([]byte(value))
	},
	"var_get": func(k *kernel, s []uint64) {
		name := k.whole(s[0])
		k.spend(uint64(len(name)))
		s[0] = k.put(k.vars[string(name)])
	},
	"var_set": func(k *kernel, s []uint64) {
		var value []byte
		if s[1] != 0 {
			value = k.whole(s[1])
		}
		name := k.whole(s[0])
		k.spend(uint64(len(name)))
		k.setVar(string(name), value)
	},
	"http_request":     func(k *kernel, s []uint64) { s[0] = k.http(s[0], s[1]) },
	"http_status_code": func(k *kernel, s []uint64) { s[0] = uint64(uint32(k.status)) },
	"http_headers":     func(k *kernel, s []uint64) { s[0] = k.put(k.header) },
	"log_trace":        logAt(slog.LevelDebug - 4),
	"log_debug":        logAt(slog.LevelDebug),
	"log_info":         logAt(slog.LevelInfo),
	"log_warn":         logAt(slog.LevelWarn),
	"log_error":        logAt(slog.LevelError),
	"get_log_level":    func(_ *kernel, s []uint64) { s[0] = 0 }, // trace: the host filters
}

func logAt(level slog.Level) func(*kernel, []uint64) {
	return func(k *kernel, s []uint64) {
		line := k.whole(s[0])
		if k.logLines >= k.limits.LogLines { // no text is made of it
			k.spend(uint64(min(len(line), longestLine)))
			k.logLines++
			return
		}
		k.log(level, string(line[:min(len(line), longestLine)]))
	}
}
