package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/provosthq/provost/host"
)

// IfMatch says what a change is of.
type IfMatch struct {
	IfMatch string `header:"If-Match" maxLength:"1024" doc:"The ETag that it had when you read it: the change is refused (412) where it has another by now."`
}

type userAnswer struct {
	ETag string `header:"ETag"`
	Body *host.User
}

func answerUser(u *host.User, err error) (*userAnswer, error) {
	if err != nil {
		return nil, problem(err)
	}
	return &userAnswer{ETag: UserETag(u), Body: u}, nil
}

// readUser reads a user into u: what is not named stays as it is there. Members
// that a user has not are refused; what only we set is left out.
func readUser(text []byte, u *host.User) error {
	kept := *u
	u.Apps, u.DeletedDate = nil, nil // or they would be written over
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(u); err != nil {
		return userError(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return host.Errorf(host.InvalidInput, "something stands behind the user")
	}
	u.Apps, u.CreatedDate, u.LastModifiedDate, u.DeletedDate = kept.Apps, kept.CreatedDate, kept.LastModifiedDate, kept.DeletedDate
	return nil
}

// userError says which member is at fault.
func userError(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		field := "/" + strings.ReplaceAll(strings.TrimPrefix(wrong.Field, "User."), ".", "/")
		return &host.Error{Code: host.InvalidInput, Field: field, Message: "can't be a " + wrong.Value}
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		name = strings.Trim(name, `"`)
		return &host.Error{Code: host.InvalidInput, Field: "/" + name, Message: "a user has no such member; the organisation's own attributes stand in Custom"}
	}
	return host.Errorf(host.InvalidInput, "the body is no user: %w", err)
}

// merged is a JSON merge patch (RFC 7396) of an object, one level deep and in
// Custom.
func merged(patch []byte, u *host.User) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(patch, &members); err != nil {
		return host.Errorf(host.InvalidInput, "the body is no JSON merge patch: %w", err)
	}
	text, err := json.Marshal(u)
	if err != nil {
		return err
	}
	var have map[string]json.RawMessage
	if err := json.Unmarshal(text, &have); err != nil {
		return err
	}
	if err := mergeInto(have, members, 0); err != nil {
		return err
	}
	if text, err = json.Marshal(have); err != nil {
		return err
	}
	fresh := &host.User{Apps: u.Apps, CreatedDate: u.CreatedDate, LastModifiedDate: u.LastModifiedDate, DeletedDate: u.DeletedDate}
	if err := readUser(text, fresh); err != nil {
		return err
	}
	*u = *fresh
	return nil
}

// deepest is how deep a patch may go.
const deepest = 32

func mergeInto(have, patch map[string]json.RawMessage, depth int) error {
	if depth > deepest {
		return host.Errorf(host.InvalidInput, "the patch is more than %d levels deep", deepest)
	}
	for _, name := range slices.Sorted(maps.Keys(patch)) {
		value := bytes.TrimSpace(patch[name])
		var inner, old map[string]json.RawMessage
		switch {
		case string(value) == "null":
			delete(have, name)
		case len(value) > 0 && value[0] == '{' && json.Unmarshal(value, &inner) == nil:
			if json.Unmarshal(have[name], &old) != nil || old == nil {
				old = map[string]json.RawMessage{}
			}
			if err := mergeInto(old, inner, depth+1); err != nil {
				return err
			}
			text, err := json.Marshal(old)
			if err != nil {
				return err
			}
			have[name] = text
		default:
			have[name] = value
		}
	}
	return nil
}

func users(a huma.API, s Service) {
	type ByName struct {
		User string `path:"user" doc:"Id or username"`
	}
	huma.Get(a, "/api/v1/users", func(ctx context.Context, in *struct {
		Paged
		Query  string `query:"query" doc:"Beginnings of words of a username, a name or an e-mail"`
		Where  string `query:"where" doc:"An expression over the user, as in an app's scope: user.Department == 'Sales'. It is paged by after."`
		Active string `query:"active" enum:"true,false" doc:"Only active ones, or only others"`
		App    string `query:"app" doc:"Only those who are assigned this app"`
		After  string `query:"after" doc:"Id of the last user of the page before"`
	}) (*page[[]*host.User], error) {
		if in.Where != "" {
			if in.Query+in.Active+in.App+in.Sort+in.Cursor != "" || in.Count {
				return nil, problem(&host.Error{Code: host.InvalidInput, Field: "query where", Message: "query where: goes with limit, after and fields alone; say the rest in the expression"})
			}
			list, err := s.UsersWhere(ctx, in.Where, in.After, in.Limit)
			return following(&in.Page, list, err, "after", func(u *host.User) any { return u.Id })
		}
		f := UserFilter{Query: in.Query, App: in.App, After: in.After, Paging: in.paging()}
		if in.Active != "" {
			active := in.Active == "true"
			f.Active = &active
		}
		l, err := s.Users(ctx, f)
		return pageOf(&in.Paged, l.Rows, l.Next, func() (Count, error) { return s.CountUsers(ctx, f) }, err)
	})
	huma.Get(a, "/api/v1/users/{user}", func(ctx context.Context, in *ByName) (*userAnswer, error) {
		return answerUser(s.User(ctx, in.User))
	})
	huma.Post(a, "/api/v1/users", func(ctx context.Context, in *struct{ RawBody []byte }) (*userAnswer, error) {
		u := new(host.User)
		if err := readUser(in.RawBody, u); err != nil {
			return nil, problem(err)
		}
		return answerUser(s.PutUser(ctx, u))
	}, asUser)
	huma.Put(a, "/api/v1/users/{user}", func(ctx context.Context, in *struct {
		ByName
		IfMatch
		RawBody []byte
	}) (*userAnswer, error) {
		return answerUser(s.ChangeUser(ctx, in.User, in.IfMatch.IfMatch, func(u *host.User) error {
			id := u.Id
			fresh := &host.User{Apps: u.Apps, CreatedDate: u.CreatedDate, LastModifiedDate: u.LastModifiedDate, DeletedDate: u.DeletedDate}
			if err := readUser(in.RawBody, fresh); err != nil {
				return err
			}
			return replaced(u, fresh, id)
		}))
	}, asUser)
	huma.Patch(a, "/api/v1/users/{user}", func(ctx context.Context, in *struct {
		ByName
		IfMatch
		RawBody []byte
	}) (*userAnswer, error) {
		return answerUser(s.ChangeUser(ctx, in.User, in.IfMatch.IfMatch, func(u *host.User) error {
			fresh := *u
			if err := merged(in.RawBody, &fresh); err != nil {
				return err
			}
			return replaced(u, &fresh, u.Id)
		}))
	}, asUser)
	huma.Delete(a, "/api/v1/users/{user}", func(ctx context.Context, in *struct {
		ByName
		IfMatch
	}) (*struct{}, error) {
		if err := s.DeleteUser(ctx, in.User, in.IfMatch.IfMatch); err != nil {
			return nil, problem(err)
		}
		return nil, nil
	})
	type userApp struct {
		User string `path:"user"`
		App  string `path:"app"`
	}
	huma.Put(a, "/api/v1/users/{user}/apps/{app}", func(ctx context.Context, in *userApp) (*struct{}, error) {
		if err := s.Assign(ctx, in.User, in.App); err != nil {
			return nil, problem(err)
		}
		return nil, nil
	})
	huma.Delete(a, "/api/v1/users/{user}/apps/{app}", func(ctx context.Context, in *userApp) (*struct{}, error) {
		if err := s.Unassign(ctx, in.User, in.App); err != nil {
			return nil, problem(err)
		}
		return nil, nil
	})
}

// replaced puts what was sent in the place of u, which keeps its id.
func replaced(u, fresh *host.User, id string) error {
	if fresh.Id != "" && fresh.Id != id {
		return &host.Error{Code: host.InvalidInput, Field: "/Id", Message: "is another user's: an id never changes"}
	}
	fresh.Id = id
	*u = *fresh
	return nil
}

// asUser describes a body that is read by us.
func asUser(o *huma.Operation) {
	example := map[string]any{"Username": "grace", "FirstName": "Grace", "LastName": "Hopper", "Email": "grace@example.com", "IsActive": true, "Department": "Engineering"}
	o.RequestBody = &huma.RequestBody{Required: true, Description: "A user; what is left out is empty, or with PATCH as it was (JSON merge patch, RFC 7396).",
		Content: map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}, Example: example}}}
	if o.Method == http.MethodPatch {
		o.RequestBody.Content["application/merge-patch+json"] = o.RequestBody.Content["application/json"]
	}
}
