package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/url"
	"strings"

	"hallmark.dev/hallmark/internal/lineage"
)

type sarifText struct {
	Text string `json:"text"`
}

type sarifRule struct {
	ID                   string            `json:"id"`
	Name                 string            `json:"name"`
	ShortDescription     sarifText         `json:"shortDescription"`
	Help                 sarifText         `json:"help"`
	DefaultConfiguration map[string]string `json:"defaultConfiguration"`
}

type sarifResult struct {
	RuleID              string            `json:"ruleId"`
	RuleIndex           int               `json:"ruleIndex"`
	Kind                string            `json:"kind"`
	Level               string            `json:"level"`
	Message             sarifText         `json:"message"`
	Locations           []sarifLocation   `json:"locations"`
	PartialFingerprints map[string]string `json:"partialFingerprints"`
	Properties          map[string]any    `json:"properties"`
}

type sarifLocation struct {
	PhysicalLocation sarifPhysical  `json:"physicalLocation"`
	LogicalLocations []sarifLogical `json:"logicalLocations"`
}

type sarifPhysical struct {
	ArtifactLocation struct {
		URI string `json:"uri"`
	} `json:"artifactLocation"`
}

type sarifLogical struct {
	Name               string `json:"name"`
	FullyQualifiedName string `json:"fullyQualifiedName"`
	Kind               string `json:"kind"`
}

// descriptions say what each state means, for reports that explain themselves.
func descriptions() map[lineage.State]string {
	return map[lineage.State]string{
		lineage.Revoked:               "The image version was revoked.",
		lineage.EndOfLife:             "The image version has reached its end of life.",
		lineage.StagedOnly:            "The image version has not passed its tests.",
		lineage.Aged:                  "The image version is too old.",
		lineage.ApprovedOutdated:      "The image version is approved, but there is a newer one.",
		lineage.ApprovedCurrent:       "The image version is approved and the newest.",
		lineage.UnapprovedMarketplace: "The image comes directly from the marketplace.",
		lineage.UnapprovedCustom:      "The image was not built from an approved recipe.",
		lineage.Unknown:               "It cannot be said which image this is.",
	}
}

func sarifLevel(s lineage.State) string {
	switch {
	case VerdictOf(s) == Compliant || s == lineage.Unknown:
		return "none" // SARIF: any other kind than fail has no level
	case severity(s) >= 3:
		return "error"
	}
	return "warning"
}

func sarifKind(v Verdict) string {
	switch v {
	case Compliant:
		return "pass"
	case NonCompliant:
		return "fail"
	}
	return "open"
}

func sarifRules() []sarifRule {
	var rules []sarifRule
	for _, s := range lineage.States() {
		text := descriptions()[s]
		rules = append(rules, sarifRule{
			ID: "hallmark/" + string(s), Name: pascal(string(s)), ShortDescription: sarifText{text},
			Help: sarifText{text + " The states are described in docs/audit.md."}, DefaultConfiguration: map[string]string{"level": sarifLevel(s)},
		})
	}
	return rules
}

func pascal(s string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(s, "-") {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}

// writeSARIF streams the results of one run.
func writeSARIF(w io.Writer, r *Report) error {
	driver := map[string]any{"name": "Hallmark", "rules": sarifRules()}
	if r.Version != "" {
		driver["version"] = r.Version
	}
	out := &lines{w: w}
	out.printf(`{"$schema":"https://json.schemastore.org/sarif-2.1.0.json","version":"2.1.0","runs":[{"tool":{"driver":%s},"results":[`, mustJSON(driver))
	separator := "\n"
	for f := range r.Findings {
		data, err := json.Marshal(newSARIFResult(f))
		if err != nil {
			return err
		}
		out.printf("%s%s", separator, data)
		separator = ",\n"
	}
	out.printf("\n],\"properties\":{\"summary\":%s}}]}\n", mustJSON(r.Summary))
	return out.err
}

func newSARIFResult(f Finding) sarifResult {
	message := f.Name + ": " + f.Reason
	if f.Advice != "" {
		message += ". What to do: " + f.Advice + ": " + f.Command
	}
	sum := sha256.Sum256([]byte(strings.ToLower(f.ID)))
	result := sarifResult{
		RuleID: "hallmark/" + string(f.State), RuleIndex: rank(f.State), Kind: sarifKind(f.Verdict), Level: sarifLevel(f.State),
		Message:             sarifText{plain(message)},
		PartialFingerprints: map[string]string{"resourceId/v1": hex.EncodeToString(sum[:])},
		Properties:          map[string]any{"image": f.Image, "version": f.Version, "verdict": f.Verdict, "team": f.Team},
	}
	location := sarifLocation{LogicalLocations: []sarifLogical{{Name: f.Name, FullyQualifiedName: f.ID, Kind: "resource"}}}
	location.PhysicalLocation.ArtifactLocation.URI = (&url.URL{Path: strings.TrimLeft(f.ID, "/")}).String()
	result.Locations = []sarifLocation{location}
	return result
}
