package sandbox

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// begun is a kernel whose call has begun.
func begun(ctx context.Context, t *turns, most time.Duration) *kernel {
	k := newKernel(Limits{Time: most}, t)
	k.begin(ctx, nil, Env{})
	return k
}

func TestCallsThatComputeForLongTakeTurnsAndShortOnesNeedNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := &turns{free: 1}
		first, second := begun(t.Context(), all, time.Second), begun(t.Context(), all, time.Second)
		time.Sleep(shortCall - 1)
		first.share(time.Now())
		require.Zero(t, first.turn, "it is short as yet")
		time.Sleep(time.Nanosecond)
		first.share(time.Now())
		require.NotZero(t, first.turn)
		go second.share(time.Now())
		synctest.Wait()
		require.Zero(t, second.turn, "there is one turn")
		time.Sleep(turnTime - 1)
		first.share(time.Now())
		require.NotZero(t, first.turn, "its turn is not over")
		time.Sleep(time.Nanosecond)
		go first.share(time.Now())
		synctest.Wait()
		require.NotZero(t, second.turn)
		require.Equal(t, turnTime, second.waited)
		time.Sleep(turnTime)
		second.rest()
		synctest.Wait()
		require.NotZero(t, first.turn, "who rests hands the turn on")
		require.Equal(t, turnTime, first.waited)
		require.Equal(t, shortCall+turnTime, first.computed(time.Now()), "what it waited is not counted")
		time.Sleep(5 * turnTime)
		first.share(time.Now())
		require.NotZero(t, first.turn, "nobody else wants it")
		first.rest()
		require.Equal(t, 1, all.free)
	})
}

func TestWhoWaitsForATurnInVainLeavesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := &turns{}
		ctx, cancel := context.WithCancel(t.Context())
		k := begun(ctx, all, time.Second)
		time.Sleep(shortCall)
		var ended any
		go func() {
			defer func() { ended = recover() }()
			k.share(time.Now())
		}()
		synctest.Wait()
		require.True(t, all.wanted())
		cancel()
		synctest.Wait()
		require.NotNil(t, ended)
		require.Equal(t, endCancelled, k.ending)
		require.False(t, all.wanted())
		all.give()
		require.Equal(t, 1, all.free)
	})
}

func TestACallThatWaitsForItsTurnTooLongEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := begun(t.Context(), &turns{}, 100*time.Millisecond)
		time.Sleep(shortCall)
		k.waited = 150 * time.Millisecond
		time.Sleep(200 * time.Millisecond)
		require.Panics(t, func() { k.check(time.Now()) })
		require.Equal(t, endTime, k.ending)
	})
}

// Memory that is given back is used again: never by two blocks at once, and
// always as zeros.
func TestBlocksOfTheHostKeepWhatIsTheirs(t *testing.T) {
	k := newKernel(Limits{Time: time.Hour, MemoryBytes: 64 << 20}, newTurns())
	rapid.Check(t, func(rt *rapid.T) {
		k.begin(t.Context(), nil, Env{})
		want := map[uint64][]byte{}
		var order []uint64
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			switch n := rapid.IntRange(0, 5).Draw(rt, "step"); {
			case n < 2 || len(order) == 0:
				size := rapid.SampledFrom([]int{1, 8, 100, 4096, 20_000, 40_000, 64 << 10, 70_000}).Draw(rt, "size")
				at := k.alloc(uint64(size))
				require.Equal(rt, make([]byte, size), k.at(at, uint64(size)), "it is zeros")
				want[at], order = make([]byte, size), append(order, at)
			case n == 2:
				data := bytes.Repeat([]byte{7}, rapid.IntRange(1, 5000).Draw(rt, "size"))
				at := k.put(data)
				want[at], order = bytes.Clone(data), append(order, at)
			case n == 3:
				i := rapid.IntRange(0, len(order)-1).Draw(rt, "which")
				k.free(order[i])
				delete(want, order[i])
				order = append(order[:i], order[i+1:]...)
			default:
				at := order[rapid.IntRange(0, len(order)-1).Draw(rt, "which")]
				value := byte(rapid.IntRange(1, 255).Draw(rt, "value"))
				for i := range k.change(at, uint64(len(want[at]))) {
					k.change(at, uint64(len(want[at])))[i] = value
					want[at][i] = value
					if i > 64 {
						break
					}
				}
			}
			for at, data := range want {
				require.True(rt, bytes.Equal(data, k.at(at, uint64(len(data)))), "block %d", at)
			}
		}
	})
}
