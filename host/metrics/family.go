package metrics

import (
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Scope is whose a metric is.
type Scope string

// The scopes. What is counted in a database that several daemons share is the
// same at each of them: take the largest, not the sum.
const (
	OfProcess  Scope = "process"
	OfDatabase Scope = "database"
)

// Family is one metric as the list of all shows it.
type Family struct {
	Name   string   `json:"Name"`
	Type   string   `json:"Type"` // counter, gauge or histogram
	Labels []string `json:"Labels"`
	Scope  Scope    `json:"Scope"`
	Help   string   `json:"Help"`
}

func sorted(list []Family) []Family {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b Family) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// registrar makes families, and keeps the list of them.
type registrar struct {
	registerer prometheus.Registerer
	families   []Family
	descs      []*prometheus.Desc // of those that are read
	errs       []error
}

func (f *registrar) note(kind string, scope Scope, name, help string, labels []string) {
	if labels == nil {
		labels = []string{}
	}
	f.families = append(f.families, Family{Name: name, Type: kind, Labels: labels, Scope: scope, Help: help})
}

func (f *registrar) register(c prometheus.Collector) {
	if err := f.registerer.Register(c); err != nil {
		f.errs = append(f.errs, err)
	}
}

func (f *registrar) counter(name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	f.note("counter", OfProcess, name, help, labels)
	f.register(v)
	return v
}

func (f *registrar) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	f.note("gauge", OfProcess, name, help, labels)
	f.register(v)
	return v
}

// histogram has native buckets for who can read them, and classic ones.
func (f *registrar) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour}, labels)
	f.note("histogram", OfProcess, name, help, labels)
	f.register(v)
	return v
}

// read is a family whose values are read when it is scraped.
func (f *registrar) read(kind string, scope Scope, name, help string, labels ...string) *prometheus.Desc {
	f.note(kind, scope, name, help, labels)
	d := prometheus.NewDesc(name, help, labels, nil)
	f.descs = append(f.descs, d)
	return d
}

// Buckets of durations: of what is done here, 0.1 ms to 26 s; of what others
// are waited for, 5 ms to a minute and a half; of what may take days.
var (
	short = prometheus.ExponentialBuckets(0.0001, 4, 10)
	long  = prometheus.ExponentialBuckets(0.005, 3, 10)
	days  = []float64{0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200, 28_800, 86_400, 604_800}
)

// exemplar names the request that a count is of; nil for none.
func exemplar(requestID string) prometheus.Labels {
	if requestID == "" || len(requestID) > 64 || clean(requestID) != requestID {
		return nil
	}
	return prometheus.Labels{"request_id": requestID}
}

func count(c prometheus.Counter, n float64, requestID string) {
	if e := exemplar(requestID); e != nil {
		c.(prometheus.ExemplarAdder).AddWithExemplar(n, e)
		return
	}
	c.Add(n)
}

func observe(o prometheus.Observer, v float64, requestID string) {
	if e := exemplar(requestID); e != nil {
		o.(prometheus.ExemplarObserver).ObserveWithExemplar(v, e)
		return
	}
	o.Observe(v)
}
