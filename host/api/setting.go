package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/pdk"
)

// Setting is an entry of the configuration: an app, a credential or a plugin. A
// file declares it, or it is stored in the database and can be changed here.
type Setting struct {
	List string `json:"list" enum:"apps,credentials,plugins"`
	Name string `json:"name"`
	// Document has the keys that an entry of the list has in a configuration file.
	// In the place of a secret stands {"stored": true}; sent back, it keeps it.
	Document map[string]any `json:"document"`
	// File declares it; "" for one that is stored.
	File string `json:"file,omitempty" doc:"The configuration file that declares it: it is changed there."`
	// Revision is what a change of it must name; 0 for what a file declares.
	Revision    int64      `json:"revision,omitempty"`
	ChangedBy   string     `json:"changedBy,omitempty"`
	ChangedDate *time.Time `json:"changedDate,omitempty"`
	// Problem is why a stored one is not in use.
	Problem string `json:"problem,omitempty" doc:"Why it is not in use."`
}

// AnyRevision lets a change of a setting be made whatever its revision is; 0
// where it must be new.
const AnyRevision = int64(-1)

// Upload is a connector that was uploaded.
type Upload struct {
	// Source is what a plugin names it by.
	Source string `json:"source" doc:"What source of a plugin is."`
	Digest string `json:"digest" doc:"SHA-256 of the module, in hex."`
	Size   int64  `json:"size"`
	// Signer is a signer of the configuration whose signature it has; Unsigned is
	// why there is none.
	Signer      string          `json:"signer,omitempty"`
	Unsigned    string          `json:"unsigned,omitempty" doc:"Why no signature counts; a plugin with it must say unsigned: true, where trust allows it."`
	Description pdk.Description `json:"description"`
	Reach       host.Reach      `json:"reach" doc:"What it wants to do."`
}

// SettingService is what the API needs for the entries of the configuration.
type SettingService interface {
	// Settings are those of a list, or all, in the order of their names.
	Settings(ctx context.Context, list string) ([]Setting, error)
	Setting(ctx context.Context, list, name string) (Setting, error)
	// CheckSetting tells what is wrong with a document, as PutSetting would, and
	// stores nothing.
	CheckSetting(ctx context.Context, list, name string, document []byte) error
	// PutSetting stores a document, and takes the configuration with it: it runs
	// when this returns, on this machine. Conflict says that the revision is
	// another, or that a file declares it.
	PutSetting(ctx context.Context, list, name string, document []byte, revision int64) (Setting, error)
	DeleteSetting(ctx context.Context, list, name string, revision int64) error
	// UploadConnector keeps a module, which is what a stored plugin can name.
	// signature is a minisign signature, nil for none.
	UploadConnector(ctx context.Context, module io.Reader, signature []byte) (Upload, error)
}

// EntryName says which entry of a list is meant: {app} or {name} of the path.
// (What is embedded must be exported: huma sees nothing else.)
type EntryName struct{ Name string }

// Resolve reads it from the path.
func (n *EntryName) Resolve(ctx huma.Context) []error {
	n.Name = ctx.Param("app") + ctx.Param("name")
	return nil
}

// SettingRevision says which revision a change is of.
type SettingRevision struct {
	IfMatch     string `header:"If-Match" doc:"The ETag that the setting had; it is refused where it has another by now."`
	IfNoneMatch string `header:"If-None-Match" doc:"*: it must be new."`
}

type settingAnswer struct {
	ETag string `header:"ETag"`
	Body Setting
}

func answerSetting(s Setting, err error) (*settingAnswer, error) {
	if err != nil {
		return nil, problem(err)
	}
	out := &settingAnswer{Body: s}
	if s.Revision > 0 {
		out.ETag = strconv.Quote(strconv.FormatInt(s.Revision, 10))
	}
	return out, nil
}

// revisionOf reads what a change says that it is of.
func revisionOf(match, noneMatch string) (int64, error) {
	switch {
	case match == "" && noneMatch == "", match == "*" && noneMatch == "":
		return AnyRevision, nil
	case match == "" && noneMatch == "*":
		return 0, nil
	case noneMatch == "":
		if n, err := strconv.ParseInt(strings.Trim(strings.TrimPrefix(match, "W/"), `"`), 10, 64); err == nil && n > 0 {
			return n, nil
		}
	}
	return 0, &host.Error{Code: host.InvalidInput, Field: "If-Match", Message: `must be the ETag that the setting had, such as "7"; If-None-Match: * for a new one`}
}

// maxSetting bounds a document, in bytes.
const maxSetting = 1 << 20

func settingRoutes(a huma.API, s SettingService) {
	huma.Get(a, "/api/v1/settings", func(ctx context.Context, _ *struct{}) (*body[[]Setting], error) {
		return listed(s.Settings(ctx, ""))
	})
	settingsOf(a, s, "apps", "app")
	settingsOf(a, s, "credentials", "name")
	settingsOf(a, s, "plugins", "name")
}

// settingsOf are the routes of one list, each of which has its own rules.
func settingsOf(a huma.API, s SettingService, list, param string) {
	all, noun := "/api/v1/settings/"+list, strings.TrimSuffix(list, "s")
	one := all + "/{" + param + "}"
	op := func(method, path, id, summary string) huma.Operation {
		o := huma.Operation{OperationID: id + "-" + noun + "-setting", Method: method, Path: path, Summary: summary, Tags: []string{"Settings"}, MaxBodyBytes: maxSetting}
		if path != all {
			longest := 100
			o.Parameters = []*huma.Param{{Name: param, In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString, MaxLength: &longest}}}
		}
		return o
	}
	huma.Register(a, op(http.MethodGet, all, "list", "List the entries of "+list), func(ctx context.Context, _ *struct{}) (*body[[]Setting], error) {
		return listed(s.Settings(ctx, list))
	})
	huma.Register(a, op(http.MethodGet, one, "get", "Show an entry of "+list), func(ctx context.Context, in *struct{ EntryName }) (*settingAnswer, error) {
		return answerSetting(s.Setting(ctx, list, in.Name))
	})
	huma.Register(a, op(http.MethodPut, one, "put", "Store an entry of "+list+", and let it run"), func(ctx context.Context, in *struct {
		EntryName
		SettingRevision
		Body map[string]any `doc:"The keys that an entry of the list has in a configuration file."`
	}) (*settingAnswer, error) {
		revision, err := revisionOf(in.IfMatch, in.IfNoneMatch)
		if err != nil {
			return nil, problem(err)
		}
		document, err := namedDocument(in.Body, in.Name)
		if err != nil {
			return nil, problem(err)
		}
		return answerSetting(s.PutSetting(ctx, list, in.Name, document, revision))
	})
	huma.Register(a, op(http.MethodPost, one+"/check", "check", "Tell what is wrong with a document"), func(ctx context.Context, in *struct {
		EntryName
		Body map[string]any
	}) (*struct{}, error) {
		document, err := namedDocument(in.Body, in.Name)
		if err == nil {
			err = s.CheckSetting(ctx, list, in.Name, document)
		}
		if err != nil {
			return nil, problem(err)
		}
		return nil, nil
	})
	huma.Register(a, op(http.MethodDelete, one, "delete", "Take a stored entry of "+list+" away"), func(ctx context.Context, in *struct {
		EntryName
		SettingRevision
	}) (*struct{}, error) {
		revision, err := revisionOf(in.IfMatch, in.IfNoneMatch)
		if err == nil {
			err = s.DeleteSetting(ctx, list, in.Name, revision)
		}
		if err != nil {
			return nil, problem(err)
		}
		return nil, nil
	})
}

// namedDocument is a document with the name that its path has.
func namedDocument(document map[string]any, name string) ([]byte, error) {
	if _, there := document["name"]; !there {
		document = maps.Clone(document)
		document["name"] = name
	}
	text, err := json.Marshal(document)
	if err != nil {
		return nil, host.Errorf(host.InvalidInput, "the body is no document: %w", err)
	}
	return text, nil
}

// UploadPath takes a connector: the module as the body, or a form with the
// files module and signature.
const UploadPath = "/api/v1/plugins/upload"

// maxUpload bounds a connector that is uploaded, and maxSignature its signature,
// in bytes.
const (
	maxUpload    = 64 << 20
	maxSignature = 4 << 10
)

func upload(s SettingService) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var result Upload
		module, signature, err := uploaded(w, r)
		if err == nil {
			result, err = s.UploadConnector(r.Context(), module, signature)
		}
		if err != nil {
			problem(err).write(w)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(result) // who does not read it has gone
	}
}

// uploaded reads what was sent. The names of the files mean nothing to us.
func uploaded(w http.ResponseWriter, r *http.Request) (module io.Reader, signature []byte, err error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxUpload+maxSignature+(64<<10))
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/form-data") {
		return r.Body, nil, nil
	}
	parts, err := r.MultipartReader()
	if err != nil {
		return nil, nil, host.Errorf(host.InvalidInput, "the form can't be read: %w", err)
	}
	for {
		part, err := parts.NextPart()
		switch {
		case errors.Is(err, io.EOF):
			if module == nil {
				return nil, nil, &host.Error{Code: host.InvalidInput, Field: "module", Message: "the form has no file named module"}
			}
			return module, signature, nil
		case err != nil:
			return nil, nil, err
		}
		switch part.FormName() {
		case "module":
			text, err := io.ReadAll(part)
			if err != nil {
				return nil, nil, err
			}
			module = bytes.NewReader(text)
		case "signature":
			if signature, err = io.ReadAll(io.LimitReader(part, maxSignature+1)); err != nil {
				return nil, nil, err
			}
			if len(signature) > maxSignature {
				return nil, nil, &host.Error{Code: host.InvalidInput, Field: "signature", Message: "the signature is too long to be one"}
			}
		}
	}
}
