package tfplan

import (
	"encoding/json"
	"fmt"
	"strings"
)

// fromJSON parses text that an attribute holds as JSON; other text stays.
func fromJSON(v any) any {
	s, ok := v.(string)
	if !ok {
		return v
	}
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	var parsed any
	if d.Decode(&parsed) != nil {
		return v
	}
	return parsed
}

// writeAzapi takes the body as it is: azapi speaks ARM. Its type names the
// api-version: Microsoft.Compute/disks@2023-10-02.
func writeAzapi(w *writer, n node) {
	r := w.resource
	r.Partial = r.Type == "azapi_update_resource"
	r.ARMType, r.APIVersion, _ = strings.Cut(n.get("type").text(), "@")
	w.azapiBody(n.get("body"))
	w.write([]field{at("name", "name"), as("location", "location", location), at("tags", "tags"), azapiIdentity()}, n, "", "",
		"id", "timeouts", "type", "parent_id", "resource_id", "body", "output", "response_export_values", "schema_validation_enabled", "locks",
		"removing_special_chars", "ignore_casing", "ignore_missing_property", "ignore_null_property", "retry", "create_headers", "create_query_parameters", "delete_headers",
		"delete_query_parameters", "read_headers", "read_query_parameters", "update_headers", "update_query_parameters", "replace_triggers_external_values", "replace_triggers_refs", "sensitive_body_version")
	w.set("type", r.ARMType, "type")
	if name := n.get("name"); !name.hidden() && name.text() != "" {
		r.Names = []string{name.text()}
	}
	for _, attribute := range []string{"resource_id", "id"} {
		if id := n.get(attribute); !id.hidden() && id.text() != "" {
			r.ID = id.text()
		}
	}
	if parent := n.get("parent_id"); !parent.hidden() {
		r.ParentID = parent.text()
	} else {
		r.ParentAddress, _ = w.idOf("parent_id")
	}
	if body := n.get("sensitive_body"); body.value != nil {
		w.hide("properties", "sensitive_body")
	}
}

func azapiIdentity() field {
	return block("identity", "identity", at("type", "type"), as("identity_ids", "userAssignedIdentities", keys), at("principal_id", "principalId"), at("tenant_id", "tenantId"))
}

// azapiBody takes an object, or the JSON text that azapi 1 wants. A body of which
// nothing is known hides everything that a body may say.
func (w *writer) azapiBody(body node) {
	if body.hidden() {
		for _, name := range []string{"properties", "sku", "kind", "zones", "plan", "extendedLocation", "managedBy"} {
			w.hide(name, "body")
		}
		return
	}
	parsed := fromJSON(body.value)
	object, ok := parsed.(map[string]any)
	if !ok {
		if parsed != nil {
			w.resource.Untranslated = append(w.resource.Untranslated, fmt.Sprintf("body (%T, not an object)", parsed))
		}
		return
	}
	for _, key := range sortedKeys(object) {
		w.set(inObject("", key), object[key], join("body", key))
	}
	w.hideInside(node{object, body.unknown, body.sensitive}, "", "body")
}
