package insights

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/admission"
	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/operation"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// What entries are about, and how they ended.
const (
	categoryAdministrative = "Administrative"
	categoryPolicy         = "Policy"

	statusAccepted  = "Accepted"
	statusSucceeded = "Succeeded"
	statusFailed    = "Failed"
)

// entry is one line of the log.
type entry struct {
	time            time.Time
	key             string // unique, rising with time where it matters
	id              arm.ID
	action          string
	principal, name string
	correlation     string
	category        string
	status          string
	level           string
	code            int    // HTTP; 0: not known
	errorCode       string // of a failure
	method          string
	operation       string // id of the long-running operation
	properties      map[string]string
}

// ofEvent is the entry of an audit event.
func ofEvent(d *store.Document) (*entry, bool) {
	var ev provider.Event
	if json.Unmarshal(d.Private, &ev) != nil {
		return nil, false
	}
	id, err := arm.ParseID(ev.Resource)
	if err != nil {
		return nil, false
	}
	e := &entry{time: ev.Time, key: nameOf(d), id: id, action: ev.Action, principal: ev.Principal, name: ev.PrincipalName, correlation: ev.CorrelationID,
		category: categoryAdministrative, status: statusSucceeded, level: "Informational", code: ev.StatusCode, errorCode: ev.Error, method: ev.Method, operation: ev.Operation}
	switch {
	case ev.Error != "":
		e.status, e.level = statusFailed, "Error"
	case ev.Operation != "":
		e.status = statusAccepted
	}
	return e, true
}

func nameOf(d *store.Document) string { return d.Key[strings.LastIndexByte(d.Key, '/')+1:] }

// ofOperation is the entry of an operation's end.
func ofOperation(d *store.Document) (*entry, bool) {
	rec, err := operation.Read(d)
	if err != nil || !rec.Status.Terminal() || rec.EndTime == nil {
		return nil, false
	}
	id, err := arm.ParseID(rec.Resource)
	if err != nil {
		return nil, false
	}
	e := &entry{time: *rec.EndTime, key: nameOf(d) + "-end", id: id, action: actionOf(id, rec.Action), principal: rec.Principal, correlation: rec.CorrelationID,
		category: categoryAdministrative, status: statusSucceeded, level: "Informational", operation: d.ID}
	if rec.Status != arm.StateSucceeded {
		e.status, e.level = string(rec.Status), "Error"
	}
	if rec.Error != nil {
		e.errorCode = rec.Error.Code
	}
	return e, true
}

// actionOf is the RBAC action of an operation.
func actionOf(id arm.ID, action string) string {
	typ := string(id.Type())
	if id.Kind() == arm.KindResourceGroup {
		typ = "Microsoft.Resources/subscriptions/resourceGroups"
	}
	if action == "write" || action == "delete" || strings.Contains(action, "/") {
		return typ + "/" + action
	}
	return typ + "/" + action + "/action"
}

// ofPolicy is the entry of a policy's decision about a write.
func ofPolicy(d *store.Document) (*entry, bool) {
	var ev admission.Event
	if json.Unmarshal(d.Private, &ev) != nil {
		return nil, false
	}
	id, err := arm.ParseID(ev.Resource)
	if err != nil {
		return nil, false
	}
	policies, err := json.Marshal([]map[string]string{{"policyDefinitionId": ev.Definition, "policySetDefinitionId": ev.Initiative, "policyDefinitionReferenceId": ev.Reference,
		"policyDefinitionEffect": ev.Effect, "policyAssignmentId": ev.Assignment}})
	if err != nil {
		return nil, false
	}
	e := &entry{time: ev.Time, key: nameOf(d), id: id, action: "Microsoft.Authorization/policies/" + ev.Effect + "/action", principal: ev.Principal,
		category: categoryPolicy, status: statusSucceeded, level: "Warning", properties: map[string]string{
			"isComplianceCheck": "False", "resourceLocation": ev.Location, "policies": string(policies), "operation": ev.Action}}
	if ev.Enforced && strings.HasPrefix(ev.Effect, "deny") {
		e.status, e.level = statusFailed, "Error"
	}
	return e, true
}

// caller is a person's name, and a program's object id.
func (e *entry) caller() string {
	if strings.Contains(e.name, "@") {
		return e.name
	}
	return e.principal
}

type localized struct {
	Value          string `json:"value"`
	LocalizedValue string `json:"localizedValue"`
}

func word(s string) localized { return localized{s, s} }

// shown is the entry in the service's shape.
func (e *entry) shown(tenant string) map[string]any {
	typ := string(e.id.Type())
	event, description := "EndRequest", "End request"
	if e.status == statusAccepted {
		event, description = "BeginRequest", "Begin request"
	}
	properties := map[string]string{"entity": e.id.String(), "message": e.action, "hierarchy": e.id.Subscription()}
	for k, v := range e.properties {
		properties[k] = v
	}
	if e.code > 0 {
		properties["statusCode"] = strings.ReplaceAll(http.StatusText(e.code), " ", "")
	}
	if e.errorCode != "" {
		properties["errorCode"] = e.errorCode
	}
	return map[string]any{
		"authorization": map[string]string{"action": e.action, "scope": e.id.String()},
		"caller":        e.caller(), "channels": "Operation", "claims": e.claims(),
		"correlationId": e.correlation, "description": "", "eventDataId": e.key,
		"eventName": localized{event, description}, "category": word(e.category), "eventTimestamp": e.time,
		"id":    e.id.String() + "/events/" + e.key + "/ticks/" + strconv.FormatInt(ticks(e.time), 10),
		"level": e.level, "operationId": e.operation, "operationName": word(e.action),
		"resourceGroupName": e.id.ResourceGroup(), "resourceProviderName": word(e.id.Type().Namespace()), "resourceType": word(typ), "resourceId": e.id.String(),
		"status": word(e.status), "subStatus": e.subStatus(), "submissionTimestamp": e.time,
		"subscriptionId": e.id.Subscription(), "tenantId": tenant, "properties": properties, "httpRequest": e.request(),
	}
}

func (e *entry) claims() map[string]string {
	claims := map[string]string{"http://schemas.microsoft.com/identity/claims/objectidentifier": e.principal}
	if e.name != "" {
		claims["name"] = e.name
	}
	return claims
}

func (e *entry) subStatus() localized {
	if e.code == 0 {
		return localized{}
	}
	text := http.StatusText(e.code)
	return localized{strings.ReplaceAll(text, " ", ""), text + " (HTTP Status Code: " + strconv.Itoa(e.code) + ")"}
}

// request is what is known of the HTTP request; nil if nothing is.
func (e *entry) request() any {
	if e.method == "" {
		return nil
	}
	return map[string]string{"clientRequestId": e.correlation, "method": e.method}
}

// ticks are 100 ns since the year 1.
func ticks(t time.Time) int64 { return t.UnixMicro()*10 + 621355968000000000 }
