package host

import "time"

// WizardDraft is what an app will be, while people walk through the wizard.
// Nothing of it counts before the app is collected.
type WizardDraft struct {
	// AppName is the app's; Revision counts the changes, from 1.
	AppName  string `json:"AppName" bun:",pk"`
	Revision int64  `json:"Revision"`
	// Values are keys of the app as a configuration has them, not yet all of
	// them, and not yet all right.
	Values map[string]any `json:"Values" bun:"document,type:json"`
	// Saved are the steps that somebody has been through.
	Saved []string `json:"Saved,omitempty" bun:"type:json"`
	// Base is the revision of the stored app that the draft began with, 0 for
	// none.
	Base int64 `json:"Base,omitempty"`
	// RunId is the run that the wizard began.
	RunId string `json:"RunId,omitempty" bun:",nullzero"`
	// Committing: a person has committed the run. When that has ended the app goes
	// live, and where Process is set what follows for each account is done.
	Committing bool `json:"Committing,omitempty"`
	Process    bool `json:"Process,omitempty"`
	// Problem is why the app did not go live after the commit.
	Problem string `json:"Problem,omitempty"`
	// Actor changed it last.
	Actor       string    `json:"Actor"`
	CreatedDate time.Time `json:"CreatedDate"`
	ChangedDate time.Time `json:"ChangedDate"`
	// Changes are the last changes, the newest last.
	Changes []WizardChange `json:"Changes,omitempty" bun:"type:json"`
}

// WizardChange is what one revision has changed of a draft.
type WizardChange struct {
	Revision int64     `json:"revision"`
	Date     time.Time `json:"date"`
	Actor    string    `json:"actor"`
	Step     string    `json:"step"`
	// Key is the value that was changed; Before and After are nil where there was
	// or is none.
	Key    string `json:"key"`
	Before any    `json:"before,omitempty"`
	After  any    `json:"after,omitempty"`
}

// MostWizardChanges is how many changes a draft keeps.
const MostWizardChanges = 100

// Since are the changes after a revision.
func (d *WizardDraft) Since(revision int64) []WizardChange {
	for i, c := range d.Changes {
		if c.Revision > revision {
			return d.Changes[i:]
		}
	}
	return nil
}
