package sandbox

import (
	"reflect"
	"time"
)

// Limits bound one module and each of its calls. A zero field stands for the
// default.
type Limits struct {
	// MemoryBytes is the guest's linear memory, in whole pages of 64 KiB.
	MemoryBytes int64
	// Time is how long a call may run, the time that the host spends in HTTP
	// for it not counted.
	Time time.Duration
	// Input and Output are bytes.
	Input, Output int
	// LogBytes and LogLines are what is kept of a call's log; the rest is
	// dropped and counted.
	LogBytes, LogLines int
	// HTTPCalls, HTTPRequestBytes and HTTPResponseBytes are per call of the
	// module, all its requests together.
	HTTPCalls                           int
	HTTPRequestBytes, HTTPResponseBytes int64
	// VarBytes is what a call may keep in vars.
	VarBytes int
	// MaxFuel is how much work a call may do, in instructions; the default is
	// what Time allows.
	MaxFuel int64
	// TableEntries bound each table.
	TableEntries int
	// ModuleBytes is the size of the module itself; Functions, FunctionBytes,
	// CompileTime and CompileMemoryBytes bound what compiling it costs, the
	// last two firmly only where [Options].Compiler does it. The memory is all
	// that the compiler's process has, 120 MB for a connector in Go of 4 MB; it
	// is looked at on Linux.
	ModuleBytes, Functions, FunctionBytes int
	CompileTime                           time.Duration
	CompileMemoryBytes                    int64
	// Instances are kept for calls at once: at least IdleInstances of them
	// while the module is in use, at most Instances. A call waits no longer
	// than Wait for one.
	Instances, IdleInstances int
	Wait                     time.Duration
}

// DefaultLimits returns what a connector has where the operator says nothing.
func DefaultLimits() Limits {
	return Limits{
		MemoryBytes: 64 << 20, Time: 10 * time.Second,
		Input: 4 << 20, Output: 16 << 20, LogBytes: 64 << 10, LogLines: 200,
		HTTPCalls: 100, HTTPRequestBytes: 16 << 20, HTTPResponseBytes: 64 << 20,
		VarBytes: 1 << 20, TableEntries: 1 << 20,
		ModuleBytes: 64 << 20, Functions: 100_000, FunctionBytes: 4 << 20, CompileTime: time.Minute, CompileMemoryBytes: 1 << 30,
		Instances: 16, IdleInstances: 1, Wait: 30 * time.Second,
	}
}

// withDefaults fills what is zero.
func (l Limits) withDefaults() Limits {
	v, d := reflect.ValueOf(&l).Elem(), reflect.ValueOf(DefaultLimits())
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			v.Field(i).Set(d.Field(i))
		}
	}
	return l
}

const pageBytes = 64 << 10

// pages is MemoryBytes in whole pages, at least one.
func (l Limits) pages() uint32 { return uint32(min(max(1, l.MemoryBytes/pageBytes), 65536)) }

// kernelBytes is what a call may hold in the kernel's memory at once: its
// input, its output, what HTTP brings, and vars.
func (l Limits) kernelBytes() int64 {
	return 2*int64(l.Input) + 2*int64(l.Output) + l.HTTPRequestBytes + l.HTTPResponseBytes + int64(l.VarBytes) + 1<<20
}
