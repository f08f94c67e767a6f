package store

import (
	"context"

	"github.com/provosthq/provost/host"
)

const wizardTable = `
CREATE TABLE wizard_drafts (
	app_name TEXT PRIMARY KEY, revision {bigint} NOT NULL, document {json}, saved {json}, base {bigint} NOT NULL, run_id TEXT,
	committing BOOLEAN NOT NULL, process BOOLEAN NOT NULL, problem TEXT NOT NULL, actor TEXT NOT NULL,
	created_date {time} NOT NULL, changed_date {time} NOT NULL, changes {json}
)
`

// WizardDraft returns the draft of an app.
func (t *Tx) WizardDraft(ctx context.Context, app string) (*host.WizardDraft, error) {
	d := new(host.WizardDraft)
	err := t.one(ctx, d, "app_name = ?", app)
	return d, notFound(err, "nobody has begun the wizard for %q", app)
}

// WizardDrafts returns all drafts, by app.
func (t *Tx) WizardDrafts(ctx context.Context) ([]*host.WizardDraft, error) {
	var list []*host.WizardDraft
	return list, t.db.NewSelect().Model(&list).OrderExpr("app_name").Scan(ctx)
}

// PutWizardDraft stores a draft whose revision is still was, and gives it the
// next; 0 for one that is new. A Conflict says that somebody else was first.
func (t *Tx) PutWizardDraft(ctx context.Context, d *host.WizardDraft, was int64) error {
	d.Revision = was + 1
	if was == 0 {
		result, err := t.db.NewInsert().Model(d).On("CONFLICT DO NOTHING").Exec(ctx)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n == 1 {
			return err
		}
	} else if done, err := t.change(ctx, d, "app_name = ? AND revision = ?", d.AppName, was); err != nil || done {
		return err
	}
	return host.Errorf(host.Conflict, "somebody else has just changed the draft of %s: load it anew", d.AppName)
}

// DeleteWizardDraft forgets a draft.
func (t *Tx) DeleteWizardDraft(ctx context.Context, app string) error {
	_, err := t.exec(ctx, "DELETE FROM wizard_drafts WHERE app_name = ?", app)
	return err
}
