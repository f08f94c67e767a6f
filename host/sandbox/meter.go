package sandbox

import (
	"runtime"
	"time"
)

const (
	// A slice is the fuel between two looks at the clock: about sliceTime, so
	// that the scheduler and the collector never wait long for a guest.
	leastSlice = 10_000
	mostSlice  = 1_000_000
	sliceTime  = time.Millisecond
	// hostCallUnits is what a call of the host counts towards the next look
	// at the clock, beside its bytes.
	hostCallUnits = 64
)

// meter counts the fuel of a call.
type meter struct {
	granted int64
	slice   int64
	last    time.Time
	// debt is work that the host did for the guest since the last look at the
	// clock. It is not fuel.
	debt uint64
	// used is what the call used up, once it has ended.
	used int64
}

func (m *meter) begin(now time.Time) { *m = meter{slice: leastSlice * 10, last: now} }

// firstSlice is the fuel that a call begins with.
func (k *kernel) firstSlice() int64 {
	k.meter.granted = k.meter.slice
	if most := k.limits.MaxFuel; most > 0 {
		k.meter.granted = min(k.meter.granted, most)
	}
	return k.meter.granted
}

// refill is called by a guest whose fuel is below zero. It returns what the
// guest goes on with, or ends the call.
func (k *kernel) refill(fuel int64) int64 {
	m := &k.meter
	now := time.Now()
	used := m.granted - fuel
	m.used = used
	k.check(now)
	if elapsed := now.Sub(m.last); elapsed > 2*sliceTime {
		m.slice = max(leastSlice, m.slice/2)
	} else if elapsed < sliceTime {
		m.slice = min(mostSlice, m.slice*2)
	}
	grant := m.slice
	if most := k.limits.MaxFuel; most > 0 {
		if used >= most {
			k.exceed("max_fuel", "did more work than it may: its fuel of %d units is used up", most)
		}
		grant = min(grant, most-used)
	}
	if now.Sub(m.last) > sliceTime {
		runtime.Gosched()
	}
	k.share(now)
	m.granted, m.last, m.debt = used+grant, time.Now(), 0
	return grant
}

// ended counts what was used when the guest has returned or trapped.
func (k *kernel) ended(fuel int64) { k.meter.used = max(k.meter.used, k.meter.granted-fuel) }

// spend counts work of the host's for the guest, in bytes or the like, so that
// a guest that only calls the host is stopped in time, too.
func (k *kernel) spend(n uint64) {
	if k.meter.debt += n; k.meter.debt > mostSlice {
		k.meter.debt = 0
		now := time.Now()
		k.check(now)
		k.share(now)
	}
}
