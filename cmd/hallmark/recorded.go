package main

import (
	"fmt"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/rp/recorded"
)

// withRecorded adds the types that are only recorded to the providers that work.
func withRecorded(real []provider.Provider, more []recordedType) ([]provider.Provider, error) {
	types, err := recordedTypes(more)
	if err != nil {
		return nil, err
	}
	p, err := recorded.New(recorded.Config{Types: types, Real: real})
	if err != nil {
		return nil, fmt.Errorf("recordedTypes: %w", err)
	}
	return append(real, p), nil
}

var scopeNames = map[string]provider.Scopes{
	"resourceGroup": provider.AtResourceGroup, "subscription": provider.AtSubscription,
	"managementGroup": provider.AtManagementGroup, "resource": provider.AtResource,
}

func recordedTypes(more []recordedType) ([]recorded.Type, error) {
	var types []recorded.Type
	for i, m := range more {
		t := recorded.Type{Type: arm.Type(m.Type)}
		for _, name := range m.At {
			scope, ok := scopeNames[name]
			if !ok {
				return nil, fmt.Errorf("recordedTypes[%d].at: %q is not resourceGroup, subscription, managementGroup or resource", i, name)
			}
			t.Scopes |= scope
		}
		types = append(types, t)
	}
	return types, nil
}
