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
	bounds func() (perSecond float64, burst int)
	now    func() time.Time

	mu      sync.Mutex
	buckets map[string]*rate.Limiter
}

func newLimiter(o Options) *limiter {
	return &limiter{bounds: func() (float64, int) {
		perSecond, burst := 0.0, 0
		if o.Bounds != nil {
			perSecond, burst = o.Bounds()
		}
		return cmp.Or(perSecond, DefaultRate), cmp.Or(burst, DefaultBurst)
	}, now: time.Now, buckets: map[string]*rate.Limiter{}}
}

// bucket is that of a subject. Full ones are forgotten where there are too many:
// a new one is full, too.
func (l *limiter) bucket(subject string, now time.Time) *rate.Limiter {
	perSecond, burst := l.bounds()
	l.mu.Lock()
	defer l.mu.Unlock()
	if b := l.buckets[subject]; b != nil {
		if b.Limit() != rate.Limit(perSecond) || b.Burst() != burst { // they were configured anew
			b.SetLimitAt(now, rate.Limit(perSecond))
			b.SetBurstAt(now, burst)
		}
		return b
	}
	if len(l.buckets) >= mostBuckets {
		for name, b := range l.buckets {
			if b.TokensAt(now) >= float64(b.Burst()) {
				delete(l.buckets, name)
			}
		}
		if len(l.buckets) >= mostBuckets {
			clear(l.buckets)
		}
	}
	b := rate.NewLimiter(rate.Limit(perSecond), burst)
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
		perSecond, burst := float64(b.Limit()), b.Burst()
		ok := b.AllowN(now, 1)
		left := math.Max(0, b.TokensAt(now))
		full := (float64(burst) - left) / perSecond
		w.Header().Set("RateLimit-Policy", fmt.Sprintf(`"subject";q=%d;w=%d`, burst, int(math.Ceil(float64(burst)/perSecond))))
		w.Header().Set("RateLimit", fmt.Sprintf(`"subject";r=%d;t=%d`, int(left), int(math.Ceil(full))))
		if !ok {
			w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil((1-left)/perSecond)))))
			refuse(w, r, host.Errorf(host.RateLimited, "too many calls: %d at once and %g a second are let through; wait a little", burst, perSecond))
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
	return string(s.Kind) + " " + cmp.Or(s.TokenId, s.UserId, s.AdministratorId, s.Subject, s.Name)
}
