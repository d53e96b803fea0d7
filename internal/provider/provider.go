package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/controller"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/store"
)

// Provider is a set of resource types under one or more namespaces.
type Provider struct {
	Types  []ResourceType
	Routes []Route
	// Controllers are workers beside the types' own Reconcile; called once at start.
	Controllers func(rt Runtime) []controller.Controller
	// Guard may refuse what anybody but the control plane itself is about to write,
	// delete or do to a resource, whatever its type: action is the RBAC action. It is
	// asked before anything is looked at closely, and again inside the transaction.
	Guard func(tx store.ReadTx, action string, id arm.ID) error
}

// Alias is a policy alias of a type, for the providers listing.
type Alias struct {
	Type, Name string
	Path       string // default path
	Versions   []AliasPath
	Modifiable bool // false: no, or not known
}

// AliasPath is the path that holds for some api-versions.
type AliasPath struct {
	Path        string   `json:"path"`
	APIVersions []string `json:"apiVersions"`
}

// Runtime is what background work may use. It becomes usable when the pipeline
// has been built; keep it, use it in Reconcile.
type Runtime struct {
	Store  store.Store
	Client Client // acts as identity.System
	Now    func() time.Time
}

// Scopes is where a type may be created, as a set of bits.
type Scopes int

// The scopes of top-level types. A child type lives where its parent does and
// leaves Scopes zero.
const (
	AtResourceGroup Scopes = 1 << iota
	AtSubscription
	AtManagementGroup
	AtTenant
	AtResource // extension resources: on any other resource
)

// LocationRule says what a type does with "location".
type LocationRule int

// LocationNone ignores the property, LocationRequired demands it on create and
// refuses a change.
const (
	LocationNone LocationRule = iota
	LocationOptional
	LocationRequired
)

// ResourceType is all there is to know about a type.
type ResourceType struct {
	Type   arm.Type
	Scopes Scopes // 0 for child types: parent type = Type.Parent()

	// APIVersions are listed to clients, newest first; at least one. Any other
	// well-formed dated version is accepted too: documents are stored whole, so
	// no version loses what another wrote.
	APIVersions []string
	// Name restricts names beyond what arm.ParseID does; nil allows all. NameHint
	// says in words what is allowed.
	Name     *regexp.Regexp
	NameHint string

	// Permission is the beginning of the RBAC actions where it is not the type.
	Permission string

	Location LocationRule
	Tags     bool // the type has tags (Location and Tags make it "tracked")
	// Identity says that resources of the type may have a managed identity: the pipeline
	// completes the property "identity", and makes and removes its principal.
	Identity bool
	// Hidden leaves the type's resources out of GET …/resources, which shows those
	// with Tags.
	Hidden bool

	// Recorded says that nothing stands behind the type: its resources are stored and
	// checked by shape, and do nothing. Answers and the providers listing say so, and
	// actions are refused with that reason.
	Recorded bool
	// ListBelow makes a list at a scope also show what exists at the scopes below it.
	ListBelow bool
	// Home says where a document is kept that can be named at several scopes, as role
	// definitions can; nil keeps it where it is named. Rights are asked for where it
	// is named.
	Home func(named arm.ID) arm.ID

	// NotFoundCode is the error code of a 404 where it is not ResourceNotFound, such
	// as "PolicyDefinitionNotFound"; its words make the message.
	NotFoundCode string

	// Codes are the answers where the defaults do not fit what the SDKs accept.
	Codes Codes

	// ReadOnly are body paths that only the server writes ("properties.vmId").
	// What a client sends there is dropped, what is stored is kept.
	// properties.provisioningState, id, name, type, systemData always are.
	ReadOnly []string

	// Decode turns a request body that is not plain JSON into JSON, for clients that
	// send such; nil means that the body is JSON.
	Decode func(body []byte) (json.RawMessage, error)
	// NoBody takes a PUT without a body for an empty object: the id says it all.
	NoBody bool
	// Load may fetch what Default and Validate need (through w.Client, as the
	// caller, so that rights are checked) and keep it in w.Loaded. It may change
	// nothing.
	Load func(ctx context.Context, w *Write) error
	// Default fills in what the client left out, and moves secrets from Body to
	// Private. Pure.
	Default func(w *Write) error
	// Validate returns everything that is wrong, each with a code, a message and a
	// target ("properties.storageProfile.imageReference.id"). Pure.
	Validate func(w *Write) []*arm.Error
	// Commit runs inside the transaction, just before the document is put, for
	// checks and changes across documents that must not race. It may run
	// more than once and must do no I/O besides tx.
	Commit func(tx store.Tx, w *Write) error

	// CheckDelete refuses a delete (arm.Conflict) when something stands against it;
	// it runs inside the transaction. Existing children refuse a delete with 409
	// before it, unless CascadeDelete.
	CheckDelete func(tx store.Tx, w *Write) error
	// ShowDeleted answers a delete at once with the resource as it was.
	ShowDeleted bool
	// DeleteAtOnce removes the document in the request although the type has Reconcile: for
	// types that own nothing outside it, whose clients do not poll a delete.
	DeleteAtOnce bool
	// CascadeDelete deletes children with their parent: at once if the type has no
	// Reconcile; otherwise Reconcile must delete them through the Client.
	CascadeDelete bool

	// Reconcile makes the type asynchronous: a write answers with provisioningState
	// Creating, Updating or Deleting and a running operation, and Reconcile
	// drives it to Succeed, Fail or Remove. Without it a write has succeeded when it is
	// committed and a delete removes at once. It is called after every change of the
	// document, at start, and when asked for; it may be killed anywhere.
	Reconcile func(ctx context.Context, w *Work) (again time.Duration, err error)
	// SyncWrites makes PUT and PATCH succeed when they are committed although the type
	// has Reconcile, which then only follows up and drives deletes: as groups do.
	SyncWrites bool
	Workers    int                                                 // keys at a time; 0 means 1
	Watches    map[arm.Type]func(string, *store.Document) []string // see controller.Controller
	Removed    func(key string) []string                           // see controller.Controller

	// View computes what GET shows from what is stored: decorations such as
	// instanceView under ?$expand. Nil shows the body. It must be quick: lists call
	// it for every item.
	View func(ctx context.Context, v *View) (json.RawMessage, error)

	// Filters are properties, by their name below "properties", that $filter of a list may
	// compare besides those that every list knows.
	Filters []string

	// Collection, on a child type, says which documents a parent's collection lists when
	// they are not its children: the machines of a flexible scale set, which are
	// machines of their group. keep is asked about each; View shows them. Not ok: the children.
	Collection func(parent *store.Document) (q store.Query, keep func(*store.Document) bool, ok bool)

	// Actions are sub-paths of a resource: POST …/virtualMachines/N/start.
	Actions []Action

	// NoState leaves properties.provisioningState out: the type has none.
	NoState bool
	// NoPut, NoPatch and NoDelete leave the verb out (405).
	NoPut, NoPatch, NoDelete bool
	// WriteWhileBusy lets PUT and PATCH through while an operation runs; otherwise
	// 409. DELETE always is let through: it cancels what runs.
	WriteWhileBusy bool
}

// Codes are HTTP status codes of answers; 0 takes the default.
type Codes struct {
	Create int // 201
	Update int // 200
	Patch  int // 200
	Delete int // 200 at once, 202 with Reconcile; 204 if there was nothing
}

// Write is one request that changes a resource, on its way through the pipeline.
type Write struct {
	ID         arm.ID
	Type       *ResourceType
	Action     string // "write", "delete", or the name of the action
	APIVersion string
	Principal  identity.Principal
	Now        time.Time
	Client     Client // acts as the caller; where only tags change, as the control plane
	// Allowed is nil if the caller may do an action elsewhere, for writes that reach
	// further than their own resource; else the refusal.
	Allowed func(ctx context.Context, action string, scope arm.ID) error

	// Old is what is stored, nil on create. Never change it.
	Old *store.Document
	// Doc is what will be stored. Hooks change Doc.Body and Doc.Private.
	Doc *store.Document
	// Request is the body as sent (a PATCH or an action's parameters); nil if empty.
	Request json.RawMessage
	// Patch: the request is merged into what is there, it does not replace it.
	Patch bool
	// Query are the request's query parameters, names in lower case.
	Query url.Values
	// Loaded is for what Load found.
	Loaded any
}

// Create reports whether the resource is new.
func (w *Write) Create() bool { return w.Old == nil }

// Action is something that can be done with a resource besides reading and
// writing it.
type Action struct {
	Name   string // "start"; the RBAC action is TYPE/start/action (TYPE/NAME/read for GET)
	Method string // POST unless set; GET for computed children such as runOutputs
	// Async answers 202 and starts an operation named like the action; Reconcile must end it
	// (Succeed, Fail or End). Needs Reconcile.
	Async bool
	// KeepState leaves provisioningState alone; otherwise Async sets Updating.
	KeepState bool
	// WhileBusy lets the action through while another operation runs.
	WhileBusy bool
	// Code is the status of the answer unless Async; 0 means 200.
	Code int
	// Apply checks the request and may change w.Doc (desired state into
	// Private); the change is stored only if there is one. The result is the body
	// of the answer (nil: none); a json.RawMessage is sent as it is.
	Apply func(ctx context.Context, w *Write) (result any, err error)
}

// Route is a path that is not a resource: computed lists, catalogues.
type Route struct {
	Method string // GET unless set
	// Pattern is the whole path; {name} matches one segment, and literal segments
	// match without regard to case. {subscription}, {resourceGroup} and
	// {managementGroup} make the scope that is authorised. "{scope...}" may stand
	// at the beginning for any scope or resource.
	//	/subscriptions/{subscription}/providers/Microsoft.Compute/locations/{location}/publishers
	Pattern string
	// Permission is the RBAC action, e.g. "Microsoft.Compute/locations/publishers/read".
	Permission string
	// Filtered routes are also for those without the permission at the scope: Handle
	// leaves out what Call.Allowed does not allow.
	Filtered bool
	// Type, if set, adds a resource type to the providers listing with APIVersions.
	Type        arm.Type
	APIVersions []string
	// RawBody passes a body that is not JSON; otherwise it is checked before Handle.
	RawBody bool
	Handle  func(ctx context.Context, c *Call) (*Response, error)
}

// Call is a request to a Route.
type Call struct {
	Request *Request
	Vars    map[string]string // values of the pattern, as written
	Scope   arm.ID
	Client  Client // acts as the caller
	Runtime Runtime
	// Allowed asks the Authorizer for the caller, to filter lists.
	Allowed func(action string, scope arm.ID) bool
	// CanRead asks it whether the caller may read resources of a type at, and so below, a scope.
	CanRead func(t arm.Type, scope arm.ID) bool
	// Listed reports whether GET …/resources would list a resource of a type that has a
	// location, or ("") has none.
	Listed func(t arm.Type, location string) bool
	// Retag merges into the tags of any resource, as the caller, whom the route's own
	// permission has allowed it: who may tag need not be allowed to write.
	Retag func(ctx context.Context, id arm.ID, tags map[string]any) error
}

// View is one document on its way to a client.
type View struct {
	Doc        *store.Document
	Asked      arm.ID     // as the request names it; of an item of a list, the scope
	List       bool       // an item of a list
	Expand     []string   // of $expand, in lower case
	Query      url.Values // the request's query parameters, names in lower case
	APIVersion string
	Runtime    Runtime
}

// Request is a request after HTTP: authenticated, path decoded.
type Request struct {
	Method        string
	Path          string // decoded, e.g. /subscriptions/S/resourcegroups/G
	Query         url.Values
	Header        http.Header // If-Match, If-None-Match; may be nil
	Body          []byte
	Principal     identity.Principal
	CorrelationID string
	BaseURL       string // of this server, without trailing slash, for links in answers
	// Check makes a PUT find out whether it would be let through, and change nothing.
	Check bool

	retag bool // a PATCH of tags that has been authorised
}

// Response is the answer.
type Response struct {
	Status int
	Header http.Header
	Body   []byte // JSON, or empty
}

// Doer runs requests: the Pipeline, or a fake in tests. Failures are in the
// response, as ARM errors.
type Doer interface {
	Do(ctx context.Context, r *Request) *Response
}

// Authorizer decides whether a principal may do an action at a scope: nil, or an
// *arm.Error with AuthorizationFailed that names all three.
type Authorizer interface {
	Authorize(ctx context.Context, p identity.Principal, action string, scope arm.ID) error
}

// Rechecker is an optional ability of an Authorizer: to say whether its decisions
// still hold when a write commits. Without it, a role that is taken away while a write
// is decided may still serve for that write.
type Rechecker interface {
	// Revision is that of the rights that Authorize decides by from now on.
	Revision(ctx context.Context) (int64, error)
	// Unchanged reports, inside a transaction, whether they still are at that revision.
	Unchanged(tx store.ReadTx, revision int64) (bool, error)
}

// Admitter has the last word on a write that is valid: it may change w.Doc or
// refuse with an *arm.Error. w.Action tells writes, deletes and actions apart.
type Admitter interface {
	Admit(ctx context.Context, w *Write) error
}

// JSON is a response with v as its body.
func JSON(status int, v any) (*Response, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("writing an answer: %w", err)
	}
	return &Response{Status: status, Header: http.Header{}, Body: raw}, nil
}
