package metrics

import (
	"cmp"
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/provosthq/provost/host"
)

// Use is what calls of an operation of a connector came to in this process.
type Use struct {
	Operation     string
	Calls, Failed float64
	Fuel, Seconds float64
}

// UseOf tells what the calls of a connector came to, by operation in the order
// of their names.
func (m *connectors) UseOf(connector string) []Use {
	by := map[string]*Use{}
	of := func(labels map[string]string) *Use {
		op := labels["operation"]
		if by[op] == nil {
			by[op] = &Use{Operation: op}
		}
		return by[op]
	}
	each(m.calls, func(labels map[string]string, v *dto.Metric) {
		if labels["connector"] != connector {
			return
		}
		u, n := of(labels), v.GetCounter().GetValue()
		if u.Calls += n; failed(labels) {
			u.Failed += n
		}
	})
	each(m.callFuel, func(labels map[string]string, v *dto.Metric) {
		if labels["connector"] == connector {
			of(labels).Fuel += v.GetCounter().GetValue()
		}
	})
	each(m.callSeconds, func(labels map[string]string, v *dto.Metric) {
		if labels["connector"] == connector {
			of(labels).Seconds += v.GetHistogram().GetSampleSum()
		}
	})
	list := make([]Use, 0, len(by))
	for _, op := range slices.Sorted(maps.Keys(by)) {
		list = append(list, *by[op])
	}
	return list
}

// Totals are sums of what this process has done since it began.
type Totals struct {
	// Calls of connectors, and Failed ones among them; HTTP requests made for them;
	// jobs that were worked.
	Calls, Failed, Callouts, Jobs float64
}

// Totals adds up what is counted.
func (m *Metrics) Totals() (t Totals) {
	each(m.calls, func(labels map[string]string, v *dto.Metric) {
		n := v.GetCounter().GetValue()
		if t.Calls += n; failed(labels) {
			t.Failed += n
		}
	})
	each(m.callouts.callouts, func(_ map[string]string, v *dto.Metric) { t.Callouts += v.GetCounter().GetValue() })
	each(m.jobs.jobs, func(_ map[string]string, v *dto.Metric) { t.Jobs += v.GetCounter().GetValue() })
	return t
}

// failed tells whether calls have failed. A read that finds nobody has not: it is
// how one looks whether an account is there.
func failed(labels map[string]string) bool {
	outcome := cmp.Or(labels["outcome"], "ok")
	return outcome != "ok" && !(outcome == string(host.NotFound) && labels["operation"] == "read")
}

// each reads what a family has counted, without asking for any other.
func each(family prometheus.Collector, read func(labels map[string]string, v *dto.Metric)) {
	found := make(chan prometheus.Metric)
	go func() { family.Collect(found); close(found) }()
	for one := range found {
		v := new(dto.Metric)
		if one.Write(v) != nil { // none of ours fails
			continue
		}
		labels := make(map[string]string, len(v.GetLabel()))
		for _, l := range v.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		read(labels, v)
	}
}
