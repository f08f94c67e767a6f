package store_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/host/store/storetest"
)

// two opens a database as two machines would; on SQLite it is one, since there
// is only one daemon.
func two(t *testing.T, url string) []store.Pace {
	t.Helper()
	var list []store.Pace
	for range 2 {
		if len(list) == 1 && strings.HasPrefix(url, "sqlite") {
			return append(list, list[0])
		}
		s, err := store.Open(t.Context(), url, store.Options{Rehearse: true})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		list = append(list, store.Pace{Store: s})
	}
	return list
}

func TestTurnsOfTwoMachinesAreOneLine(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		machines := two(t, url)
		now := time.Now().Truncate(time.Millisecond).UTC()
		var mu sync.Mutex
		var all []time.Time
		var group sync.WaitGroup
		for i := range 8 {
			group.Go(func() {
				for n := range 5 {
					first, ok, err := machines[i%2].ReserveTurns(t.Context(), "Acme", now, now.Add(time.Hour), 10*time.Millisecond, n+1)
					require.NoError(t, err)
					require.True(t, ok)
					mu.Lock()
					for j := range n + 1 {
						all = append(all, first.Add(time.Duration(j)*10*time.Millisecond))
					}
					mu.Unlock()
				}
			})
		}
		group.Wait()
		slices.SortFunc(all, time.Time.Compare)
		require.Len(t, all, 8*15)
		for i, at := range all {
			require.WithinDuration(t, now.Add(time.Duration(i)*10*time.Millisecond), at, 0, "none twice, none left out")
		}
		first, ok, err := machines[0].ReserveTurns(t.Context(), "Acme", now, now.Add(time.Second), time.Second, 1)
		require.NoError(t, err)
		require.False(t, ok)
		require.WithinDuration(t, now.Add(1200*time.Millisecond), first, 0)
		first, ok, err = machines[0].ReserveTurns(t.Context(), "Acme", now.Add(time.Minute), now.Add(time.Hour), time.Second, 1)
		require.NoError(t, err)
		require.True(t, ok)
		require.WithinDuration(t, now.Add(time.Minute), first, 0, "what was missed is not saved up, and who was refused took none")
	})
}

func TestASlotIsOfOneHolderAtATimeAndWhoWaitsComesFirst(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		machines := two(t, url)
		now := time.Now()
		acquire := func(machine int, holder string, most int, at time.Time) int {
			slot, err := machines[machine].AcquireSlot(t.Context(), "Acme", holder, most, at, at.Add(20*time.Second), at.Add(time.Second))
			require.NoError(t, err)
			return slot
		}
		wanted := func(holder string, at time.Time) bool {
			is, err := machines[0].SlotWanted(t.Context(), "Acme", holder, at)
			require.NoError(t, err)
			return is
		}
		got := make(chan int, 20)
		var group sync.WaitGroup
		for i := range 10 {
			group.Go(func() { got <- acquire(i%2, []string{"a", "b"}[i%2], 3, now) })
		}
		group.Wait()
		close(got)
		slots := map[int]int{}
		for s := range got {
			slots[s]++
		}
		require.Equal(t, 1, slots[1])
		require.Equal(t, 1, slots[2])
		require.Equal(t, 1, slots[3])
		require.Equal(t, 7, slots[0])

		require.Zero(t, acquire(0, "c", 3, now.Add(2*time.Second)), "whoever waited before has given up by now")
		require.True(t, wanted("a", now.Add(2*time.Second)))
		require.False(t, wanted("c", now.Add(2*time.Second)), "it is the one that waits")
		for _, holder := range []string{"a", "b"} {
			require.NoError(t, machines[0].ReleaseSlot(t.Context(), "Acme", holder, 2))
		}
		require.Zero(t, acquire(1, "b", 3, now.Add(2*time.Second)), "the free one is for who waits")
		require.Equal(t, 2, acquire(0, "c", 3, now.Add(2*time.Second)))
		require.False(t, wanted("a", now.Add(2*time.Second)))
		require.Zero(t, acquire(0, "d", 2, now.Add(2*time.Second)), "with fewer allowed, none is free though number 1 were")

		// What nobody renews is free, what is renewed is not.
		ours, err := machines[1].RenewSlots(t.Context(), "Acme", "c", now, now.Add(time.Hour))
		require.NoError(t, err)
		require.Equal(t, []int{2}, ours)
		require.Equal(t, 1, acquire(0, "e", 3, now.Add(time.Minute)))
		require.Equal(t, 3, acquire(0, "e", 3, now.Add(time.Minute)))
		require.Zero(t, acquire(0, "e", 3, now.Add(time.Minute)))
		ours, err = machines[1].RenewSlots(t.Context(), "Acme", "a", now, now.Add(time.Hour))
		require.NoError(t, err)
		require.Empty(t, ours, "they are another's now")
	})
}
