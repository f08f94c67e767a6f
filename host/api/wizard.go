package api

import (
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/pdk"
)

// The steps of the wizard, in their order.
const (
	StepApp        = "app"
	StepConnector  = "connector"
	StepCredential = "credential"
	StepOperations = "operations"
	StepAttributes = "attributes"
	StepApproval   = "approval"
	StepLinking    = "linking"
)

// WizardSteps are the steps in their order.
var WizardSteps = []string{StepApp, StepConnector, StepCredential, StepOperations, StepAttributes, StepApproval, StepLinking}

// Wizard is how far an app has come in the wizard.
type Wizard struct {
	App   string `json:"app"`
	Label string `json:"label"`
	// Revision is that of the draft; 0 where nobody has changed anything yet.
	Revision int64 `json:"revision"`
	// Values are keys of the app, as in the configuration.
	Values map[string]any `json:"values"`
	Steps  []WizardStep   `json:"steps"`
	// Next is the first step that is not done.
	Next string `json:"next"`
	// Mode is what the app has that runs, live or preview; "" where there is none
	// yet.
	Mode string `json:"mode,omitempty"`
	// DeclaredIn is the file that declares the app: nothing can be changed here, and
	// it is collected as it is.
	DeclaredIn string `json:"declaredIn,omitempty"`
	// Run is the name of the run that the wizard began.
	Run string `json:"run,omitempty"`
	// Stale: the draft was changed since the run began. It must be collected anew
	// before it can be committed.
	Stale bool `json:"stale,omitempty"`
	// Committing: the run is being committed, and the app goes live at its end.
	// Problem is why it did not.
	Committing bool   `json:"committing,omitempty"`
	Problem    string `json:"problem,omitempty"`
	// ChangedBy changed the draft last.
	ChangedBy   string              `json:"changedBy,omitempty"`
	ChangedDate *time.Time          `json:"changedDate,omitempty"`
	Changes     []host.WizardChange `json:"changes,omitempty"`
}

// Step is one of the steps by its name; nil for none.
func (w *Wizard) Step(name string) *WizardStep {
	for i := range w.Steps {
		if w.Steps[i].Name == name {
			return &w.Steps[i]
		}
	}
	return nil
}

// ProblemOf is what is wrong with a value, "" for nothing.
func (w *Wizard) ProblemOf(field string) string {
	for _, s := range w.Steps {
		for _, p := range s.Problems {
			if p.Field == field {
				return p.Message
			}
		}
	}
	return ""
}

// WizardStep is one step.
type WizardStep struct {
	Name string `json:"name"`
	// Keys are those of the app that belong to it.
	Keys []string `json:"keys"`
	// Saved: somebody has been through it. Done: and nothing is wrong with it.
	Saved    bool            `json:"saved"`
	Done     bool            `json:"done"`
	Problems []WizardProblem `json:"problems,omitempty"`
}

// WizardProblem is what is wrong with one value.
type WizardProblem struct {
	Field   string `json:"field" doc:"The key below the app, such as mapping[2]"`
	Message string `json:"message"`
}

// WizardSave are the values of one step.
type WizardSave struct {
	Revision int64          `json:"revision" doc:"That was shown to who changes it; 0 begins."`
	Values   map[string]any `json:"values" doc:"All keys of the step; one that is left out is as if it were not there."`
}

// WizardTrial is a draft's mapping for one user. Nothing is stored or sent.
type WizardTrial struct {
	User    string   `json:"user,omitempty" doc:"Id or username of whom the values are made."`
	Mapping []string `json:"mapping,omitempty" doc:"Rules in place of the draft's."`
}

// WizardSuggestions are what can be mapped, and probably is to be.
type WizardSuggestions struct {
	// Discovered: the target itself was asked what it has.
	Discovered bool `json:"discovered"`
	// Problem is why it could not be; the connector's own word counts then.
	Problem    string             `json:"problem,omitempty"`
	Warnings   []string           `json:"warnings,omitempty"`
	Attributes []pdk.Attribute    `json:"attributes"`
	UserFields []string           `json:"userFields"`
	Rules      []WizardSuggestion `json:"rules"`
	Link       []string           `json:"link,omitempty" doc:"Link rules that the connector has."`
}

// WizardSuggestion is a rule that an attribute probably wants.
type WizardSuggestion struct {
	Path     string `json:"path"`
	Rule     string `json:"rule"`
	Reason   string `json:"reason"`
	Default  bool   `json:"default,omitempty" doc:"The connector itself has it."`
	Type     string `json:"type,omitempty"`
	Required bool   `json:"required,omitempty"`
	Unique   bool   `json:"unique,omitempty"`
}

// WizardCommit says what follows from the commit of a run.
type WizardCommit struct {
	Revision int64 `json:"revision,omitempty" doc:"0: whatever it is."`
	Process  bool  `json:"process,omitempty" doc:"Do what follows for each account when the app is live."`
}

// Following is what would follow from the commit of a run, for each account.
type Following struct {
	// Counts are by operation.
	Counts map[string]int64 `json:"counts"`
	// Accounts are linked then.
	Accounts int64 `json:"accounts"`
	// Stopped says which threshold is passed; a person would be asked once more.
	Stopped string                `json:"stopped,omitempty"`
	Changes []*host.PlannedChange `json:"changes"`
	// After is for the next page, "" at the end.
	After string `json:"after,omitempty"`
}

// WizardService is what the API needs for the wizard, which makes the
// configuration of one app. What a file declares can't be changed.
type WizardService interface {
	// Wizards are the drafts that are open.
	Wizards(ctx context.Context) ([]*Wizard, error)
	// Wizard is how far an app has come: its draft, or how it is.
	Wizard(ctx context.Context, app string) (*Wizard, error)
	// SaveWizard stores the values of one step, also wrong ones, and tells what is
	// wrong. Where others have changed the same values since the revision it is a
	// Conflict, which says what.
	SaveWizard(ctx context.Context, app, step string, s WizardSave) (*Wizard, error)
	// DropWizard forgets a draft; the app is as it was.
	DropWizard(ctx context.Context, app string) error
	// TryWizard makes the attributes of a user by the draft.
	TryWizard(ctx context.Context, app string, t WizardTrial) (*Mapping, error)
	SuggestWizard(ctx context.Context, app string) (*WizardSuggestions, error)
	// CollectWizard stores the app as the draft has it, in preview where it is not
	// live, and begins a run.
	CollectWizard(ctx context.Context, app string, revision int64) (*Wizard, error)
	// CommitWizard commits the run. When that has ended the app goes live, whatever
	// stops meanwhile.
	CommitWizard(ctx context.Context, app string, c WizardCommit) (*Wizard, error)
	// Following is what would follow from the commit of a run; only operations op
	// where it is not "".
	Following(ctx context.Context, requestID string, op host.Operation, after string, limit int) (*Following, error)
	// Description is what the build of a connector that serves says of itself.
	Description(ctx context.Context, connector string) (*pdk.Description, error)
}

func wizards(a huma.API, s WizardService) {
	type ByApp struct {
		App string `path:"app"`
	}
	huma.Get(a, "/api/v1/wizards", func(ctx context.Context, _ *struct{}) (*body[[]*Wizard], error) { return listed(s.Wizards(ctx)) })
	huma.Get(a, "/api/v1/apps/{app}/wizard", func(ctx context.Context, in *ByApp) (*body[*Wizard], error) { return answer(s.Wizard(ctx, in.App)) })
	huma.Put(a, "/api/v1/apps/{app}/wizard/{step}", func(ctx context.Context, in *struct {
		ByApp
		Step string `path:"step" enum:"app,connector,credential,operations,attributes,approval,linking"`
		Body WizardSave
	}) (*body[*Wizard], error) {
		return answer(s.SaveWizard(ctx, in.App, in.Step, in.Body))
	})
	huma.Delete(a, "/api/v1/apps/{app}/wizard", func(ctx context.Context, in *ByApp) (*struct{}, error) {
		if err := s.DropWizard(ctx, in.App); err != nil {
			return nil, problem(err)
		}
		return nil, nil
	})
	huma.Post(a, "/api/v1/apps/{app}/wizard/preview", func(ctx context.Context, in *struct {
		ByApp
		Body WizardTrial
	}) (*body[*Mapping], error) {
		return answer(s.TryWizard(ctx, in.App, in.Body))
	})
	huma.Post(a, "/api/v1/apps/{app}/wizard/suggest", func(ctx context.Context, in *ByApp) (*body[*WizardSuggestions], error) {
		return answer(s.SuggestWizard(ctx, in.App))
	})
	huma.Post(a, "/api/v1/apps/{app}/wizard/collect", func(ctx context.Context, in *struct {
		ByApp
		Body struct {
			Revision int64 `json:"revision,omitempty" doc:"0: whatever it is."`
		}
	}) (*body[*Wizard], error) {
		return answer(s.CollectWizard(ctx, in.App, in.Body.Revision))
	})
	huma.Post(a, "/api/v1/apps/{app}/wizard/commit", func(ctx context.Context, in *struct {
		ByApp
		Body WizardCommit
	}) (*body[*Wizard], error) {
		return answer(s.CommitWizard(ctx, in.App, in.Body))
	})
	huma.Get(a, "/api/v1/requests/{id}/following", func(ctx context.Context, in *struct {
		ID        string `path:"id" doc:"Id, name (UPR-000042) or number"`
		Operation string `query:"operation" enum:"Create,Update,Deactivate,Delete" doc:"Only these changes"`
		After     string `query:"after" doc:"What the page before ended with; a page may have fewer changes than limit, and none, before the end"`
		Page
	}) (*body[*Following], error) {
		return answer(s.Following(ctx, in.ID, host.Operation(in.Operation), in.After, in.Limit))
	})
	huma.Get(a, "/api/v1/plugins/{name}/description", func(ctx context.Context, in *ByName) (*body[*pdk.Description], error) {
		return answer(s.Description(ctx, in.Name))
	})
}
