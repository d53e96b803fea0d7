package admission

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// TypeDue is the store's type of what deployIfNotExists has to look at: a resource
// that was written, and a policy that may have to deploy something for it. It is
// written with the resource, so that no kill in between loses it; who deploys
// removes it.
const TypeDue arm.Type = "Hallmark.Compliance/due"

// Due is the Private part of its document.
type Due struct {
	Resource   string    `json:"resource"`
	Assignment string    `json:"assignment"`
	Reference  string    `json:"reference,omitempty"` // of the policy in the initiative
	Time       time.Time `json:"time"`
	// Deployment is the id of the deployment, written before it is asked for.
	Deployment string `json:"deployment,omitempty"`
}

// due are the deployIfNotExists policies that look at what is being written. Whether
// they have anything to do is only known once the resource exists.
func due(set *assignment.Set, w *provider.Write) (all []Due) {
	for _, u := range looking(set, draft(w)) {
		e := u.Effect(w.ID.Type(), w.Doc.Location)
		// What the assignment itself deploys must not make it deploy again.
		own := u.Assignment.Identity != "" && strings.EqualFold(u.Assignment.Identity, w.Principal.ObjectID)
		if (e == "" || sameEffect(e, policy.DeployIfNotExists)) && u.Assignment.Enforced && !own {
			all = append(all, Due{Resource: w.ID.String(), Assignment: u.Assignment.ID.String(), Reference: u.ReferenceID, Time: now(w)})
		}
	}
	return all
}

func putDue(tx store.Tx, all []Due, by string) error {
	for _, d := range all {
		raw, err := json.Marshal(d)
		if err != nil {
			return fmt.Errorf("noting what a policy has to look at: %w", err)
		}
		id, err := arm.ParseID(d.Resource)
		if err != nil {
			return err
		}
		scope := arm.Tenant
		if s := id.Subscription(); s != "" {
			scope = arm.SubscriptionID(s)
		}
		sum := sha256.Sum256([]byte(strings.ToLower(d.Resource + "\x00" + d.Assignment + "\x00" + d.Reference)))
		doc := &store.Document{ID: scope.Resource(TypeDue, fmt.Sprintf("%x", sum[:16])).String(), Type: TypeDue, SubscriptionID: scope.Subscription(),
			Body: json.RawMessage("{}"), Private: raw, CreatedAt: d.Time, UpdatedAt: d.Time, CreatedBy: by}
		if err := tx.Put(doc, store.Any); err != nil {
			return fmt.Errorf("noting what a policy has to look at: %w", err)
		}
	}
	return nil
}
