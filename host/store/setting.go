package store

import (
	"context"
	"time"

	"github.com/provosthq/provost/host"
)

// Settings returns the entries of the configuration that stand in the database,
// and the generation that they are of: it grows with every change of one.
func (t *Tx) Settings(ctx context.Context) (list []*host.Setting, generation int64, err error) {
	if generation, err = t.SettingGeneration(ctx); err != nil {
		return nil, 0, err
	}
	return list, generation, t.db.NewSelect().Model(&list).OrderExpr("list, name").Scan(ctx)
}

// SettingGeneration is the generation of the settings.
func (t *Tx) SettingGeneration(ctx context.Context) (n int64, err error) {
	return n, t.SQL().QueryRowContext(ctx, "SELECT generation FROM setting_generation").Scan(&n)
}

// HoldSettings is [Tx.SettingGeneration], and nobody changes a setting before
// the transaction ends.
func (t *Tx) HoldSettings(ctx context.Context) (n int64, err error) {
	if t.dialect == "postgres" {
		return n, t.SQL().QueryRowContext(ctx, "SELECT generation FROM setting_generation FOR SHARE").Scan(&n)
	}
	return t.SettingGeneration(ctx)
}

// AdvanceSettings makes the generation after from the one that is; false where
// another one is by now, and then nothing may be changed.
func (t *Tx) AdvanceSettings(ctx context.Context, from int64) (bool, error) {
	n, err := t.exec(ctx, "UPDATE setting_generation SET generation = ? WHERE generation = ?", from+1, from)
	return n == 1, err
}

// PutSetting stores a setting, or another document of one, with the generation
// that the transaction has advanced to as its revision.
func (t *Tx) PutSetting(ctx context.Context, s *host.Setting) error {
	_, err := t.db.NewInsert().Model(s).On("CONFLICT (list, name) DO UPDATE").
		Set("document = EXCLUDED.document, revision = EXCLUDED.revision, actor = EXCLUDED.actor, changed_date = EXCLUDED.changed_date").Exec(ctx)
	return err
}

// DeleteSetting takes a setting away.
func (t *Tx) DeleteSetting(ctx context.Context, list, name string) error {
	_, err := t.exec(ctx, "DELETE FROM settings WHERE list = ? AND name = ?", list, name)
	return err
}

// PutConnectorModule stores a module that was uploaded; one of its digest is
// there once, with the signature that came last.
func (t *Tx) PutConnectorModule(ctx context.Context, m *host.ConnectorModule) error {
	_, err := t.exec(ctx, "INSERT INTO connector_modules (digest, module, signature, actor, created_date) VALUES (?, ?, ?, ?, ?)"+
		" ON CONFLICT (digest) DO UPDATE SET signature = EXCLUDED.signature, actor = EXCLUDED.actor, created_date = EXCLUDED.created_date",
		m.Digest, m.Module, m.Signature, m.Actor, m.CreatedDate)
	return err
}

// ConnectorModule returns a module that was uploaded; sql.ErrNoRows for none.
func (t *Tx) ConnectorModule(ctx context.Context, digest string) (*host.ConnectorModule, error) {
	m := new(host.ConnectorModule)
	return m, t.one(ctx, m, "digest = ?", digest)
}

// PruneConnectorModules drops the modules that nobody names, but for those that
// were uploaded since.
func (t *Tx) PruneConnectorModules(ctx context.Context, named []string, since time.Time) (int64, error) {
	kept := map[string]bool{}
	for _, digest := range named {
		kept[digest] = true
	}
	var all []string
	if err := t.scan(ctx, &all, "SELECT digest FROM connector_modules WHERE created_date < ?", since); err != nil {
		return 0, err
	}
	var dropped int64
	for _, digest := range all {
		if kept[digest] {
			continue
		}
		n, err := t.exec(ctx, "DELETE FROM connector_modules WHERE digest = ?", digest)
		if err != nil {
			return dropped, err
		}
		dropped += n
	}
	return dropped, nil
}
