package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Rollout says how another build of a connector takes over from the one that
// serves.
type Rollout struct {
	Canary         Threshold     `yaml:"canary" doc:"Share of an app's requests that a new build gets first, such as 5%; without it, all at once."`
	CanaryTime     time.Duration `yaml:"canary_time" default:"10m" doc:"How long it has that share before it gets all."`
	RollbackWithin time.Duration `yaml:"rollback_within" default:"10m" doc:"How long after it took over a build is compared with the one before it."`
	RollbackAbove  Threshold     `yaml:"rollback_above" default:"10%" doc:"By how much more of its calls may fail before the one before serves again; 100%: it never does by itself."`
	RollbackCalls  int           `yaml:"rollback_calls" default:"20" doc:"From how many calls on it is compared."`
}

// Quarantine says when a connector is taken out: its requests wait then, until
// a person lets it back or another build comes.
type Quarantine struct {
	Faults int           `yaml:"faults" default:"20" doc:"So many calls that trapped, ran out of time, or broke a limit or the contract."`
	Window time.Duration `yaml:"window" default:"5m" doc:"Within this time."`
}

// Grants say what a connector may do besides calling the hosts of hosts.
// Without them the first build may do what it says of itself, and a later one
// that wants more waits for provost plugin grant.
type Grants struct {
	Operations []string `yaml:"operations" doc:"Operations that it may be called for; without them, all of its."`
	Protocols  []string `yaml:"protocols" doc:"Sign-ins that the credentials of its apps may have; without them, any."`
}

// operationNames are what a connector may be granted.
var operationNames = []string{"create", "read", "update", "deactivate", "activate", "freeze", "unfreeze", "delete", "reconcile", "check"}

// Share is a threshold that is a share, as a number from 0 to 1; 0 for none.
func (t Threshold) Share() float64 {
	_, percent, ok := t.Parse()
	if !ok || !strings.HasSuffix(string(t), "%") {
		return 0
	}
	return percent / 100
}

func (k *checker) rollout(key string, p *Plugin) {
	for name, t := range map[string]Threshold{"canary": p.Rollout.Canary, "rollback_above": p.Rollout.RollbackAbove} {
		if _, _, ok := t.Parse(); t != "" && (!ok || !strings.HasSuffix(string(t), "%")) {
			k.fail(key+".rollout."+name, "%q is no share; write 5%%", short(string(t)))
		}
	}
	if p.Quarantine.Faults > 10_000 {
		k.fail(key+".quarantine.faults", "is more than 10000")
	}
	if p.Grants == nil {
		return
	}
	for i, op := range p.Grants.Operations {
		if !slices.Contains(operationNames, op) {
			k.fail(fmt.Sprintf("%s.grants.operations[%d]", key, i), "there is no operation %q%s", short(op), suggest(op, operationNames))
		}
	}
}

// RestartNeeded lists what another configuration changes and a running daemon
// can't.
func RestartNeeded(running, next *Config) []Problem {
	var problems []Problem
	for key, changed := range map[string]bool{
		"database.url":  running.Database.URL != next.Database.URL,
		"data_dir":      running.DataDir != next.DataDir,
		"listen.socket": running.Listen.Socket != next.Listen.Socket,
		"workers":       running.Workers != next.Workers,
	} {
		if changed {
			problems = append(problems, Problem{Key: key, Message: "restart needed: it can't change while the daemon runs; restart it, or write what it was"})
		}
	}
	return problems
}
