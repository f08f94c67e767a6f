package sandbox

import (
	"crypto/rand"
	"encoding/binary"
	"time"

	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/sys"
)

// wasiModule is the import module of WASI preview 1. There are no files, no
// network, no environment and no arguments; what a guest prints is logged. It
// keeps no state: a descriptor that was closed or renumbered would tell the
// next call about this one.
const wasiModule = "wasi_snapshot_preview1"

// The error numbers that are given.
const (
	wasiOK       = 0
	wasiBadf     = 8
	wasiFault    = 21
	wasiInval    = 28
	wasiNosys    = 52
	wasiSpipe    = 70
	wasiOverflow = 61
)

// wasiFunction makes a host function of one that returns an error number;
// types has a letter a parameter: i for i32, l for i64.
func wasiFunction(types string, call func(k *kernel, s []uint64) uint64) hostFunction {
	params := make([]api.ValueType, len(types))
	for n, t := range types {
		params[n] = map[rune]api.ValueType{'i': i32, 'l': i64}[t]
	}
	return hostFunction{sig(params, i32), func(k *kernel, s []uint64) {
		for n, t := range params {
			if t == i32 { // the upper half of the slot may be anything
				s[n] = uint64(uint32(s[n]))
			}
		}
		s[0] = call(k, s)
	}}
}

func wasiRefuse(errno uint64) func(*kernel, []uint64) uint64 {
	return func(*kernel, []uint64) uint64 { return errno }
}

// wasiStdio answers for the three descriptors that are open.
func wasiStdio(open uint64) func(*kernel, []uint64) uint64 {
	return func(_ *kernel, s []uint64) uint64 {
		if uint32(s[0]) > 2 {
			return wasiBadf
		}
		return open
	}
}

func wasiZeros(n int) func(*kernel, []uint64) uint64 {
	return func(k *kernel, s []uint64) uint64 {
		for _, p := range s[:n] {
			b := k.guestTo(uint32(p), 4)
			if b == nil {
				return wasiFault
			}
			clear(b)
		}
		return wasiOK
	}
}

var wasiFunctions = map[string]hostFunction{
	"args_get":          wasiFunction("ii", wasiRefuse(wasiOK)),
	"args_sizes_get":    wasiFunction("ii", wasiZeros(2)),
	"environ_get":       wasiFunction("ii", wasiRefuse(wasiOK)),
	"environ_sizes_get": wasiFunction("ii", wasiZeros(2)),
	"clock_res_get": wasiFunction("ii", func(k *kernel, s []uint64) uint64 {
		return k.wasiPut64(s[0] <= 1, s[1], map[bool]uint64{true: 1, false: 1000}[s[0] == 1])
	}),
	"clock_time_get": wasiFunction("ili", func(k *kernel, s []uint64) uint64 {
		t := uint64(time.Now().UnixNano())
		if s[0] == 1 {
			t = uint64(time.Since(processStart))
		}
		return k.wasiPut64(s[0] <= 1, s[2], t)
	}),
	"fd_advise":             wasiFunction("illi", wasiRefuse(wasiBadf)),
	"fd_allocate":           wasiFunction("ill", wasiRefuse(wasiBadf)),
	"fd_close":              wasiFunction("i", wasiStdio(wasiOK)),
	"fd_datasync":           wasiFunction("i", wasiStdio(wasiInval)),
	"fd_fdstat_get":         wasiFunction("ii", (*kernel).wasiFdstat),
	"fd_fdstat_set_flags":   wasiFunction("ii", wasiStdio(wasiOK)),
	"fd_fdstat_set_rights":  wasiFunction("ill", wasiStdio(wasiOK)),
	"fd_filestat_get":       wasiFunction("ii", (*kernel).wasiFilestat),
	"fd_filestat_set_size":  wasiFunction("il", wasiStdio(wasiInval)),
	"fd_filestat_set_times": wasiFunction("illi", wasiStdio(wasiInval)),
	"fd_pread":              wasiFunction("iiili", wasiStdio(wasiSpipe)),
	"fd_prestat_get":        wasiFunction("ii", wasiRefuse(wasiBadf)),
	"fd_prestat_dir_name":   wasiFunction("iii", wasiRefuse(wasiBadf)),
	"fd_pwrite":             wasiFunction("iiili", wasiStdio(wasiSpipe)),
	"fd_read":               wasiFunction("iiii", (*kernel).wasiRead),
	"fd_readdir":            wasiFunction("iiili", wasiRefuse(wasiBadf)),
	"fd_renumber":           wasiFunction("ii", wasiRefuse(wasiBadf)),
	"fd_seek":               wasiFunction("ilii", wasiStdio(wasiSpipe)),
	"fd_sync":               wasiFunction("i", wasiStdio(wasiInval)),
	"fd_tell":               wasiFunction("ii", wasiStdio(wasiSpipe)),
	"fd_write":              wasiFunction("iiii", (*kernel).wasiWrite),

	"path_create_directory":   wasiFunction("iii", wasiRefuse(wasiBadf)),
	"path_filestat_get":       wasiFunction("iiiii", wasiRefuse(wasiBadf)),
	"path_filestat_set_times": wasiFunction("iiiilli", wasiRefuse(wasiBadf)),
	"path_link":               wasiFunction("iiiiiii", wasiRefuse(wasiBadf)),
	"path_open":               wasiFunction("iiiiillii", wasiRefuse(wasiBadf)),
	"path_readlink":           wasiFunction("iiiiii", wasiRefuse(wasiBadf)),
	"path_remove_directory":   wasiFunction("iii", wasiRefuse(wasiBadf)),
	"path_rename":             wasiFunction("iiiiii", wasiRefuse(wasiBadf)),
	"path_symlink":            wasiFunction("iiiii", wasiRefuse(wasiBadf)),
	"path_unlink_file":        wasiFunction("iii", wasiRefuse(wasiBadf)),

	"poll_oneoff": wasiFunction("iiii", (*kernel).wasiPoll),
	"proc_exit": {sig([]api.ValueType{i32}), func(_ *kernel, s []uint64) {
		panic(sys.NewExitError(uint32(s[0])))
	}},
	"proc_raise":    wasiFunction("i", wasiRefuse(wasiNosys)),
	"random_get":    wasiFunction("ii", (*kernel).wasiRandom),
	"sched_yield":   wasiFunction("", wasiRefuse(wasiOK)),
	"sock_accept":   wasiFunction("iii", wasiRefuse(wasiBadf)),
	"sock_recv":     wasiFunction("iiiiii", wasiRefuse(wasiBadf)),
	"sock_send":     wasiFunction("iiiii", wasiRefuse(wasiBadf)),
	"sock_shutdown": wasiFunction("ii", wasiRefuse(wasiBadf)),
}

// processStart is where the guests' monotonic clock begins.
var processStart = time.Now()

func (k *kernel) wasiPut64(known bool, pointer, v uint64) uint64 {
	if !known {
		return wasiInval
	}
	b := k.guestTo(uint32(pointer), 8)
	if b == nil {
		return wasiFault
	}
	binary.LittleEndian.PutUint64(b, v)
	return wasiOK
}

func (k *kernel) wasiPut32(pointer uint64, v uint32) uint64 {
	b := k.guestTo(uint32(pointer), 4)
	if b == nil {
		return wasiFault
	}
	binary.LittleEndian.PutUint32(b, v)
	return wasiOK
}

const wasiCharacterDevice = 2

func (k *kernel) wasiFdstat(s []uint64) uint64 {
	if uint32(s[0]) > 2 {
		return wasiBadf
	}
	b := k.guestTo(uint32(s[1]), 24)
	if b == nil {
		return wasiFault
	}
	clear(b)
	b[0] = wasiCharacterDevice
	const fdRead, fdWrite = 1 << 1, 1 << 6
	right := uint64(fdWrite)
	if s[0] == 0 {
		right = fdRead
	}
	binary.LittleEndian.PutUint64(b[8:], right)
	return wasiOK
}

func (k *kernel) wasiFilestat(s []uint64) uint64 {
	if uint32(s[0]) > 2 {
		return wasiBadf
	}
	b := k.guestTo(uint32(s[1]), 64)
	if b == nil {
		return wasiFault
	}
	clear(b)
	b[16] = wasiCharacterDevice
	return wasiOK
}

// wasiRead reads from standard input, which is empty.
func (k *kernel) wasiRead(s []uint64) uint64 {
	if uint32(s[0]) != 0 {
		return wasiBadf
	}
	return k.wasiPut32(s[3], 0)
}

// wasiWrite logs what is printed.
func (k *kernel) wasiWrite(s []uint64) uint64 {
	if fd := uint32(s[0]); fd != 1 && fd != 2 {
		return wasiBadf
	}
	count := uint32(s[2])
	if count > 1<<16 {
		return wasiInval
	}
	vectors := k.guest(uint32(s[1]), 8*count)
	if vectors == nil {
		return wasiFault
	}
	k.spend(uint64(len(vectors)))
	var total uint64
	for ; len(vectors) > 0; vectors = vectors[8:] {
		b := k.guest(binary.LittleEndian.Uint32(vectors), binary.LittleEndian.Uint32(vectors[4:]))
		if b == nil {
			return wasiFault
		}
		if total += uint64(len(b)); total > 1<<31 {
			return wasiOverflow
		}
		k.spend(uint64(len(b)))
		_, _ = k.printed.Write(b) // never fails
	}
	return k.wasiPut32(s[3], uint32(total))
}

func (k *kernel) wasiRandom(s []uint64) uint64 {
	b := k.guestTo(uint32(s[0]), uint32(s[1]))
	if b == nil {
		return wasiFault
	}
	k.spend(uint64(len(b)) * 4)
	_, _ = rand.Read(b) // never fails
	return wasiOK
}

// wasiPoll waits for the first of the clocks that are asked for, but no longer
// than the call may run. Descriptors are always ready.
func (k *kernel) wasiPoll(s []uint64) uint64 {
	const subscription, event, mostSubscriptions = 48, 32, 1 << 12
	n := uint32(s[2])
	if n == 0 || n > mostSubscriptions {
		return wasiInval
	}
	in, out := k.guest(uint32(s[0]), n*subscription), k.guestTo(uint32(s[1]), n*event)
	if in == nil || out == nil {
		return wasiFault
	}
	k.spend(uint64(len(in)))
	now := time.Now()
	wait := time.Duration(1<<63 - 1)
	delay := func(sub []byte) time.Duration {
		if sub[8] != 0 {
			return 0
		}
		d := time.Duration(min(binary.LittleEndian.Uint64(sub[24:]), 1<<62))
		if absolute := sub[40]&1 != 0; absolute {
			clock := uint64(now.UnixNano())
			if binary.LittleEndian.Uint32(sub[16:]) == 1 {
				clock = uint64(now.Sub(processStart))
			}
			d -= time.Duration(min(clock, 1<<62))
		}
		return max(0, d)
	}
	for i := uint32(0); i < n; i++ {
		wait = min(wait, delay(in[i*subscription:]))
	}
	if wait > 0 {
		k.rest()
		left := k.limits.Time - k.computed(now)
		timer := time.NewTimer(min(wait, max(0, left)+time.Millisecond))
		select {
		case <-timer.C:
		case <-k.ctx.Done():
		}
		timer.Stop()
		k.check(time.Now())
	}
	// in and out may overlap: read a subscription before its event is written.
	var done uint32
	due := append([]byte(nil), in...)
	for i := uint32(0); i < n; i++ {
		sub := due[i*subscription:]
		if delay(sub) > wait {
			continue
		}
		e := out[done*event : (done+1)*event]
		clear(e)
		copy(e[:8], sub[:8])
		e[10] = sub[8]
		if sub[8] > 2 {
			binary.LittleEndian.PutUint16(e[8:], wasiInval)
		}
		done++
	}
	return k.wasiPut32(s[3], done)
}
