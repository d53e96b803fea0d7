package policyinsights

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"hallmark.dev/hallmark/internal/admission"
	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

type eventColumn struct {
	name string
	get  func(e admission.Event) any
}

func eventText(f func(e admission.Event) string) func(admission.Event) any {
	return func(e admission.Event) any { return f(e) }
}

func eventID(f func(arm.ID) string) func(admission.Event) any {
	return func(e admission.Event) any {
		id, err := arm.ParseID(e.Resource)
		if err != nil {
			return ""
		}
		return f(id)
	}
}

var eventColumns = []eventColumn{
	{"timestamp", func(e admission.Event) any { return e.Time }},
	{"resourceId", eventText(func(e admission.Event) string { return e.Resource })},
	{"policyAssignmentId", eventText(func(e admission.Event) string { return e.Assignment })},
	{"policyDefinitionId", eventText(func(e admission.Event) string { return e.Definition })},
	{"isCompliant", func(admission.Event) any { return false }},
	{"subscriptionId", eventID(arm.ID.Subscription)},
	{"resourceType", eventText(func(e admission.Event) string { return e.Type })},
	{"resourceLocation", eventText(func(e admission.Event) string { return e.Location })},
	{"resourceGroup", eventID(arm.ID.ResourceGroup)},
	{"policyAssignmentName", eventText(func(e admission.Event) string { return lastName(e.Assignment) })},
	{"policyDefinitionName", eventText(func(e admission.Event) string { return lastName(e.Definition) })},
	{"policyDefinitionAction", eventText(func(e admission.Event) string { return e.Effect })},
	{"policySetDefinitionId", eventText(func(e admission.Event) string { return e.Initiative })},
	{"policySetDefinitionName", eventText(func(e admission.Event) string { return lastName(e.Initiative) })},
	{"policyDefinitionReferenceId", eventText(func(e admission.Event) string { return e.Reference })},
	{"policyDefinitionVersion", eventText(func(e admission.Event) string { return e.DefinitionVersion })},
	{"complianceState", eventText(func(e admission.Event) string { return e.State })},
	{"principalOid", eventText(func(e admission.Event) string { return e.Principal })},
	{"enforced", func(e admission.Event) any { return e.Enforced }},
	{"operation", eventText(func(e admission.Event) string { return e.Action })},
}

func eventValue(e admission.Event, name string) any {
	for _, c := range eventColumns {
		if strings.EqualFold(c.name, name) {
			return c.get(e)
		}
	}
	return nil
}

func knownEventColumn(name string) bool {
	for _, c := range eventColumns {
		if strings.EqualFold(c.name, name) {
			return true
		}
	}
	return false
}

// queryEvents serves …/policyEvents/default/queryResults.
func (cfg Config) queryEvents(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	q, err := readQuery(c.Request.Query, c.Runtime.Now(), knownEventColumn)
	if err != nil {
		return nil, err
	}
	set, err := cfg.Index.Current(ctx)
	if err != nil {
		return nil, err
	}
	t := targetOf(c.Scope)
	l := &list[admission.Event]{q: q, get: eventValue}
	pipe := newPipeline(q.apply)
	err = eachEvent(ctx, c.Runtime.Store, t.scope, func(e admission.Event) {
		get := func(name string) any { return eventValue(e, name) }
		if e.Time.Before(q.from) || e.Time.After(q.to) || !t.has(set, e) || !q.filter(get) || !pipe.passes(get) {
			return
		}
		if pipe.first != nil {
			pipe.first.add(get)
		} else {
			l.add(e)
		}
	})
	if err != nil {
		return nil, err
	}
	objects, total := eventObjects(q, l), l.total
	if pipe.first != nil {
		if objects, total, err = window(q, pipe.finish()); err != nil {
			return nil, err
		}
	}
	return respond(c, q, "policyEvents", objects, total, cfg.Engine.Progress(), true)
}

func eventObjects(q *query, l *list[admission.Event]) []object {
	objects := []object{}
	for _, e := range l.page() {
		o := object{{"@odata.id", nil}, {"@odata.context", nil}}
		for _, col := range eventColumns {
			if q.selected == nil || contains(q.selected, col.name) {
				o = append(o, property{col.name, plain(col.get(e))})
			}
		}
		objects = append(objects, o)
	}
	return objects
}

// has reports whether an event lies in a target.
func (t target) has(set *assignment.Set, e admission.Event) bool {
	id, err := arm.ParseID(e.Resource)
	return err == nil && (t.scope.IsRoot() || set.Hierarchy.Contains(t.scope, id)) &&
		(t.assignment == "" || strings.EqualFold(e.Assignment, t.assignment)) &&
		(t.definition == "" || sameName(e.Definition, t.definition)) &&
		(t.initiative == "" || sameName(e.Initiative, t.initiative))
}

const eventPage = 1000

// eachEvent calls f with the events of a scope's subscription, or of all, in pages.
func eachEvent(ctx context.Context, s store.Store, scope arm.ID, f func(admission.Event)) error {
	q := store.Query{Type: admission.TypeEvent, SubscriptionID: scope.Subscription(), Limit: eventPage}
	for {
		docs, err := store.List(ctx, s, q)
		if err != nil {
			return fmt.Errorf("reading policy events: %w", err)
		}
		for _, d := range docs {
			var e admission.Event
			if json.Unmarshal(d.Private, &e) == nil {
				f(e)
			}
		}
		if len(docs) < eventPage {
			return nil
		}
		q.After = docs[eventPage-1].Key
	}
}
