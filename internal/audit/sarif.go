package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strings"

	"hallmark.dev/hallmark/internal/lineage"
	"hallmark.dev/hallmark/internal/sarif"
)

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

func sarifRules() []sarif.Rule {
	var rules []sarif.Rule
	for _, s := range lineage.States() {
		text := descriptions()[s]
		rules = append(rules, sarif.Rule{
			ID: "hallmark/" + string(s), Name: pascal(string(s)), ShortDescription: sarif.Text{Text: text},
			Help: sarif.Text{Text: text + " The states are described in docs/audit.md."}, DefaultConfiguration: map[string]string{"level": sarifLevel(s)},
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
	out := sarif.NewWriter(w, sarif.Driver{Name: "Hallmark", Version: r.Version, Rules: sarifRules()})
	for f := range r.Findings {
		out.Result(newSARIFResult(f))
	}
	return out.Close(map[string]any{"summary": r.Summary})
}

func newSARIFResult(f Finding) sarif.Result {
	message := f.Name + ": " + f.Reason
	if f.Advice != "" {
		message += ". What to do: " + f.Advice + ": " + f.Command
	}
	sum := sha256.Sum256([]byte(strings.ToLower(f.ID)))
	result := sarif.Result{
		RuleID: "hallmark/" + string(f.State), RuleIndex: rank(f.State), Kind: sarifKind(f.Verdict), Level: sarifLevel(f.State),
		Message:             sarif.Text{Text: plain(message)},
		PartialFingerprints: map[string]string{"resourceId/v1": hex.EncodeToString(sum[:])},
		Properties:          map[string]any{"image": f.Image, "version": f.Version, "verdict": f.Verdict, "team": f.Team},
	}
	location := sarif.Location{LogicalLocations: []sarif.Logical{{Name: f.Name, FullyQualifiedName: f.ID, Kind: "resource"}}}
	location.PhysicalLocation.ArtifactLocation.URI = sarif.FileURI(strings.TrimLeft(f.ID, "/"))
	result.Locations = []sarif.Location{location}
	return result
}
