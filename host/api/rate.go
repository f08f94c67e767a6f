package api

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
)

// What one subject may call, a second and at once.
const (
	DefaultRate  = 50
	DefaultBurst = 200
)

// mostBuckets bounds how many subjects are remembered.
const mostBuckets = 10_000

// limiter bounds the calls of each subject, on this machine: a bucket of tokens
// for each.
type limiter struct {
	rate  rate.Limit
	burst int
	now   func() time.Time

	mu      sync.Mutex
	buckets map[string]*rate.Limiter
}

func newLimiter(o Options) *limiter {
	l := &limiter{rate: rate.Limit(o.Rate), burst: o.Burst, now: time.Now, buckets: map[string]*rate.Limiter{}}
	if l.rate <= 0 {
		l.rate = DefaultRate
	}
	if l.burst <= 0 {
		l.burst = DefaultBurst
	}
	return l
}

// bucket is that of a subject. Full ones are forgotten where there are too many:
// a new one is full, too.
func (l *limiter) bucket(subject string, now time.Time) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b := l.buckets[subject]; b != nil {
		return b
	}
	if len(l.buckets) >= mostBuckets {
		for name, b := range l.buckets {
			if b.TokensAt(now) >= float64(l.burst) {
				delete(l.buckets, name)
			}
		}
		if len(l.buckets) >= mostBuckets {
			clear(l.buckets)
		}
	}
	b := rate.NewLimiter(l.rate, l.burst)
	l.buckets[subject] = b
	return b
}

// limited refuses what a subject calls beyond its bounds. Every answer says how
// much is left (draft-ietf-httpapi-ratelimit-headers).
func (l *limiter) limited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := access.SubjectOf(r.Context())
		if s != nil && s.Kind == access.Owner {
			next.ServeHTTP(w, r)
			return
		}
		now := l.now()
		b := l.bucket(subjectName(s), now)
		ok := b.AllowN(now, 1)
		left := math.Max(0, b.TokensAt(now))
		full := (float64(l.burst) - left) / float64(l.rate)
		w.Header().Set("RateLimit-Policy", fmt.Sprintf(`"subject";q=%d;w=%d`, l.burst, int(math.Ceil(float64(l.burst)/float64(l.rate)))))
		w.Header().Set("RateLimit", fmt.Sprintf(`"subject";r=%d;t=%d`, int(left), int(math.Ceil(full))))
		if !ok {
			w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil((1-left)/float64(l.rate))))))
			refuse(w, r, host.Errorf(host.RateLimited, "too many calls: %d at once and %g a second are let through; wait a little", l.burst, float64(l.rate)))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// subjectName tells subjects apart, for bounds and for keys.
func subjectName(s *access.Subject) string {
	if s == nil {
		return ""
	}
	return string(s.Kind) + " " + cmp.Or(s.UserId, s.AdministratorId, s.Subject, s.Name)
}
