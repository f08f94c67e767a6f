package store

import (
	"context"
	"time"
)

// Pace is the store of host/pace. Each method is one transaction.
type Pace struct{ *Store }

// ReserveTurns moves the time of a target's next turn on by n turns.
func (p Pace) ReserveTurns(ctx context.Context, target string, now, latest time.Time, interval time.Duration, n int) (first time.Time, ok bool, err error) {
	err = p.Update(ctx, func(t *Tx) error {
		s, err := t.TargetState(ctx, target, true)
		if err != nil {
			return err
		}
		if first = now; s.NextDate != nil && s.NextDate.After(now) {
			first = *s.NextDate
		}
		if ok = !first.After(latest); !ok {
			return nil
		}
		next := first.Add(time.Duration(n) * interval).UTC()
		s.NextDate = &next
		return t.PutTargetState(ctx, s)
	})
	return first, ok, err
}

const slotTable = `
CREATE TABLE target_slots (target TEXT NOT NULL, slot {bigint} NOT NULL, holder TEXT NOT NULL, until_ms {bigint} NOT NULL, PRIMARY KEY (target, slot))`

type targetSlot struct {
	Slot   int
	Holder string
}

// waitsForSlot is the number under which it is noted that somebody waits.
const waitsForSlot = 0

// AcquireSlot takes a slot that is free, or whose holder was not heard of.
func (p Pace) AcquireSlot(ctx context.Context, target, holder string, most int, now, until, wanted time.Time) (slot int, err error) {
	err = p.Update(ctx, func(t *Tx) error {
		slot = 0
		if _, err := t.TargetState(ctx, target, true); err != nil { // one at a time
			return err
		}
		var rows []*targetSlot
		if err := t.scan(ctx, &rows, "SELECT slot, holder FROM target_slots WHERE target = ? AND until_ms >= ?", target, now.UnixMilli()); err != nil {
			return err
		}
		// More than most may be taken, by processes with another configuration; and
		// who waits already comes first.
		taken, first, free := map[int]bool{}, holder, most
		for _, r := range rows {
			if free--; r.Slot == waitsForSlot {
				if first = r.Holder; first == holder {
					free++
				}
			}
			taken[r.Slot] = true
		}
		number, end := waitsForSlot, wanted
		for n := 1; n <= most && free > 0 && slot == 0; n++ {
			if !taken[n] {
				slot, number, end = n, n, until
			}
		}
		if slot == 0 && first != holder {
			return nil
		}
		if slot != 0 && taken[waitsForSlot] && first == holder {
			if _, err := t.exec(ctx, "DELETE FROM target_slots WHERE target = ? AND slot = 0 AND holder = ?", target, holder); err != nil {
				return err
			}
		}
		_, err := t.exec(ctx, "INSERT INTO target_slots (target, slot, holder, until_ms) VALUES (?, ?, ?, ?)"+
			" ON CONFLICT (target, slot) DO UPDATE SET holder = excluded.holder, until_ms = excluded.until_ms", target, number, holder, end.UnixMilli())
		return err
	})
	return slot, err
}

// RenewSlots keeps the slots of a holder.
func (p Pace) RenewSlots(ctx context.Context, target, holder string, now, until time.Time) (list []int, err error) {
	err = p.Update(ctx, func(t *Tx) error {
		list = nil
		if _, err := t.exec(ctx, "UPDATE target_slots SET until_ms = ? WHERE target = ? AND holder = ? AND slot > 0", until.UnixMilli(), target, holder); err != nil {
			return err
		}
		return t.scan(ctx, &list, "SELECT slot FROM target_slots WHERE target = ? AND holder = ? AND slot > 0 ORDER BY slot", target, holder)
	})
	return list, err
}

// ReleaseSlot gives a slot back.
func (p Pace) ReleaseSlot(ctx context.Context, target, holder string, slot int) error {
	return p.Update(ctx, func(t *Tx) error {
		_, err := t.exec(ctx, "DELETE FROM target_slots WHERE target = ? AND slot = ? AND holder = ?", target, slot, holder)
		return err
	})
}

// SlotWanted tells whether another waits for a slot.
func (p Pace) SlotWanted(ctx context.Context, target, holder string, now time.Time) (wanted bool, err error) {
	err = p.View(ctx, func(t *Tx) error {
		var list []int
		err := t.scan(ctx, &list, "SELECT slot FROM target_slots WHERE target = ? AND slot = 0 AND holder <> ? AND until_ms >= ?", target, holder, now.UnixMilli())
		wanted = len(list) > 0
		return err
	})
	return wanted, err
}
