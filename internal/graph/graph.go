// Package graph serves the part of Microsoft Graph that clients of Resource Manager
// ask for when they deal with roles: applications, service principals and their
// secrets, groups and members, users by name, and who an object id is.
//
// Everybody who is known may read it, as in Entra ID; changing it needs
// Microsoft.Authorization/directory/write at the root, which Owner and User Access
// Administrator have there. What there is, package directory keeps. cmd imports it.
package graph

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/access"
	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/directory"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// PathPrefix is where it is served.
const PathPrefix = "/graph/"

const version = PathPrefix + "v1.0"

// Write is the action that changes of the directory need, at the root.
const Write = "Microsoft.Authorization/directory/write"

// Config is what the graph is served from.
type Config struct {
	Directory    *directory.Directory
	Index        *access.Index
	Authenticate func(*http.Request) (identity.Principal, error)
	// Unauthorized answers requests that are not authenticated.
	Unauthorized func(http.ResponseWriter, *http.Request, error)
	Log          *slog.Logger
	Now          func() time.Time // nil: time.Now
}

// New is the handler of everything below PathPrefix.
func New(cfg Config) http.Handler {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	mux := http.NewServeMux()
	for pattern, h := range routes {
		method, path, _ := strings.Cut(pattern, " ")
		mux.HandleFunc(method+" "+version+path, func(w http.ResponseWriter, r *http.Request) { cfg.serve(w, r, h) })
	}
	mux.HandleFunc(PathPrefix, func(w http.ResponseWriter, r *http.Request) {
		cfg.serve(w, r, func(c *call) (any, error) {
			return nil, failure(404, "Request_ResourceNotFound", "Resource not found for the segment '%s'. Hallmark serves a part of Microsoft Graph v1.0: docs/access.md lists it.", clip(c.URL.Path))
		})
	})
	return mux
}

// call is one request.
type call struct {
	*http.Request
	cfg       Config
	principal identity.Principal
	set       *access.Set
	status    int // of success; 0 is 200
}

type handler func(c *call) (any, error)

func (cfg Config) serve(w http.ResponseWriter, r *http.Request, h handler) {
	c := &call{Request: r, cfg: cfg}
	var err error
	if c.principal, err = cfg.Authenticate(r); err != nil {
		cfg.Unauthorized(w, r, err)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	if c.set, err = cfg.Index.Current(r.Context()); err == nil {
		err = c.mayUse()
	}
	var answer any
	if err == nil {
		answer, err = h(c)
	}
	if err != nil {
		cfg.fail(w, r, err)
		return
	}
	c.answer(w, answer)
}

// mayUse: who is known may read; the rest needs the right to write.
func (c *call) mayUse() error {
	if who := c.set.Who(c.principal); who.ID == "" && len(who.Groups) == 0 {
		return failure(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation: the principal is not in the directory.")
	}
	if c.Method == http.MethodGet || reads[c.Pattern] {
		return nil
	}
	if !c.set.Allows(c.principal, Write, arm.Tenant) {
		return failure(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation. Changing the directory needs %s at the scope '/': ask an Owner or User Access Administrator of everything.", Write)
	}
	return nil
}

func (c *call) answer(w http.ResponseWriter, v any) {
	if v == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	raw, err := json.Marshal(v)
	if err != nil {
		c.cfg.fail(w, c.Request, err)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if c.status != 0 {
		w.WriteHeader(c.status)
	}
	_, _ = w.Write(raw) // the client went away: nobody to tell
}

// changing is the directory, each of whose changes leaves an audit event.
func (c *call) changing(action, object string) *directory.Directory {
	return c.cfg.Directory.With(func(tx store.Tx) error {
		now := c.cfg.Now().UTC().Truncate(time.Millisecond)
		return provider.Record(tx, arm.Tenant, provider.Event{Time: now, Principal: c.principal.ObjectID, PrincipalName: c.principal.Name,
			Action: "Microsoft.Graph/" + action, Resource: "/providers/Microsoft.Graph/" + object, APIVersion: "v1.0"})
	})
}

// body reads the request's JSON.
func (c *call) body(into any) error {
	if err := json.NewDecoder(c.Body).Decode(into); err != nil {
		return failure(400, "Request_BadRequest", "The request body is not the JSON that is expected here: %v.", err)
	}
	return nil
}

// collection is a list as Graph answers it.
func (c *call) collection(all []object) (any, error) {
	f, err := parseFilter(c.URL.Query().Get("$filter"))
	if err != nil {
		return nil, err
	}
	value := []object{}
	for _, o := range all {
		if f.matches(o) {
			value = append(value, o)
		}
	}
	return map[string]any{"@odata.context": "https://" + c.Host + version + "/$metadata", "value": value}, nil
}

func notFound(id string) error {
	return failure(404, "Request_ResourceNotFound", "Resource '%s' does not exist or one of its queried reference-property objects are not present.", clip(id))
}

// explain turns what the directory says into Graph's words.
func explain(err error) error {
	switch {
	case errors.Is(err, directory.ErrNotFound):
		return failure(404, "Request_ResourceNotFound", "%v.", err)
	case errors.Is(err, directory.ErrExists):
		return failure(400, "Request_BadRequest", "One or more added object references already exist: %v.", err)
	}
	return err
}
