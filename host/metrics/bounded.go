package metrics

import (
	"strings"
	"sync"
	"time"
)

const (
	// other stands for the values of a label that are too many.
	other = "other"
	// mostVersions of one connector have series of their own.
	mostVersions = 8
	// forgotten is how long a value was not seen when a new one may take its place:
	// long enough for every scrape to have seen its last count.
	forgotten = 15 * time.Minute
	// mostValue bounds one value.
	mostValue = 64
)

// clean makes a label's value of what somebody else wrote.
func clean(s string) string {
	s = strings.ToValidUTF8(s, "?")
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
	if len(s) > mostValue {
		s = strings.ToValidUTF8(s[:mostValue-3], "") + "…"
	}
	return s
}

// bounded keeps the number of values of a label small that a connector chooses.
// It may be used from many goroutines.
type bounded struct {
	most int
	now  func() time.Time
	// drop removes the series of a value that has made room for another.
	drop func(owner, value string)

	mu   sync.Mutex
	seen map[string]map[string]time.Time // by owner and value: when last
}

// value is v, or "other" where the owner has too many values already.
func (b *bounded) value(owner, v string) string {
	v = clean(v)
	now := b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seen == nil {
		b.seen = map[string]map[string]time.Time{}
	}
	values := b.seen[owner]
	if values == nil {
		values = map[string]time.Time{}
		b.seen[owner] = values
	}
	if _, known := values[v]; !known && len(values) >= b.most {
		oldest := ""
		for one, at := range values {
			if oldest == "" || at.Before(values[oldest]) {
				oldest = one
			}
		}
		if now.Sub(values[oldest]) < forgotten {
			return other
		}
		delete(values, oldest)
		b.drop(owner, oldest)
	}
	values[v] = now
	return v
}
