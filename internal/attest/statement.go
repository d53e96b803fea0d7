package attest

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// The statement's type, and the types of predicates that Hallmark writes.
const (
	StatementType = "https://in-toto.io/Statement/v1"

	// PredicateTestResult is in-toto's own type for test results.
	PredicateTestResult = "https://in-toto.io/attestation/test-result/v0.1"

	// PredicatePromotion says that a version was released, and on what grounds.
	PredicatePromotion = "https://hallmark.dev/attestation/promotion/v1"
)

// Statement is an in-toto statement: something is said of artifacts that are
// named by their digests.
type Statement struct {
	Type          string          `json:"_type"`
	Subject       []Subject       `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate,omitempty"`
}

// Subject is an artifact.
type Subject struct {
	Name   string            `json:"name,omitempty"`
	Digest map[string]string `json:"digest"` // algorithm → lower-case hexadecimal digits
}

// TestResult is the predicate of [PredicateTestResult].
type TestResult struct {
	Result        string               `json:"result"` // PASSED, WARNED or FAILED
	Configuration []ResourceDescriptor `json:"configuration"`
	URL           string               `json:"url,omitempty"`
	PassedTests   []string             `json:"passedTests,omitempty"`
	WarnedTests   []string             `json:"warnedTests,omitempty"`
	FailedTests   []string             `json:"failedTests,omitempty"`
}

// ResourceDescriptor is in-toto's reference to a resource.
type ResourceDescriptor struct {
	Name   string            `json:"name,omitempty"`
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest,omitempty"`
}

// Promotion is the predicate of [PredicatePromotion].
type Promotion struct {
	VersionID    string     `json:"versionId"` // the gallery version's resource id
	RunID        string     `json:"runId,omitempty"`
	Source       any        `json:"source,omitempty"` // the resolved source
	RecipeDigest string     `json:"recipeDigest,omitempty"`
	PlanDigest   string     `json:"planDigest,omitempty"`
	TattooDigest string     `json:"tattooDigest,omitempty"`
	PromotedAt   time.Time  `json:"promotedAt"`
	Tests        TestResult `json:"tests"`
}

var sha256Pattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

// NewStatement says something of one image. digest is its SHA-256, with or
// without "sha256:".
func NewStatement(name, digest, predicateType string, predicate any) (Statement, error) {
	data, err := json.Marshal(predicate)
	if err != nil {
		return Statement{}, fmt.Errorf("write the predicate: %w", err)
	}
	s := Statement{
		Type:          StatementType,
		Subject:       []Subject{{Name: name, Digest: map[string]string{"sha256": strings.TrimPrefix(digest, "sha256:")}}},
		PredicateType: predicateType,
		Predicate:     data,
	}
	return s, s.check()
}

// check holds what the specification demands, and that the subject is named by
// a digest that we can compare.
func (s Statement) check() error {
	switch {
	case s.Type != StatementType:
		return fmt.Errorf("%w: the statement's type is %q, not %s", ErrFormat, s.Type, StatementType)
	case len(s.Subject) == 0:
		return fmt.Errorf("%w: the statement has no subject", ErrFormat)
	case s.PredicateType == "":
		return fmt.Errorf("%w: the statement has no predicate type", ErrFormat)
	}
	for _, subject := range s.Subject {
		if !sha256Pattern.MatchString(subject.Digest["sha256"]) {
			return fmt.Errorf("%w: a subject has no SHA-256 digest", ErrFormat)
		}
	}
	return nil
}

// About says whether the statement is about an image of this digest, written
// with or without "sha256:".
func (s Statement) About(digest string) bool {
	digest = strings.TrimPrefix(digest, "sha256:")
	for _, subject := range s.Subject {
		if digest != "" && subject.Digest["sha256"] == digest {
			return true
		}
	}
	return false
}
