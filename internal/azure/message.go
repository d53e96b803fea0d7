package azure

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

// Message renders an error for a person: ARM's code and message with its
// details, one a line, instead of the whole HTTP exchange.
func Message(err error) string {
	var e *azcore.ResponseError
	if !errors.As(err, &e) {
		return err.Error()
	}
	detail, ok := parseError(e)
	if !ok {
		return fmt.Sprintf("%s (HTTP %d)", e.ErrorCode, e.StatusCode)
	}
	return detail.text("")
}

type errorDetail struct {
	Code           string           `json:"code"`
	Message        string           `json:"message"`
	Target         string           `json:"target"`
	Details        []errorDetail    `json:"details"`
	AdditionalInfo []additionalInfo `json:"additionalInfo"`
}

// additionalInfo is, of a refusal by policy, the policy that refused.
type additionalInfo struct {
	Type string `json:"type"`
	Info struct {
		DefinitionName        string `json:"policyDefinitionName"`
		DefinitionDisplayName string `json:"policyDefinitionDisplayName"`
		AssignmentName        string `json:"policyAssignmentName"`
		AssignmentDisplayName string `json:"policyAssignmentDisplayName"`
		AssignmentDescription string `json:"policyAssignmentDescription"`
		EvaluationDetails     struct {
			EvaluatedExpressions []evaluatedExpression `json:"evaluatedExpressions"`
		} `json:"evaluationDetails"`
	} `json:"info"`
}

type evaluatedExpression struct {
	Result          string          `json:"result"`
	Expression      string          `json:"expression"`
	ExpressionValue json.RawMessage `json:"expressionValue"`
}

// violation says which policy refused, by what it saw, and what its assignment says
// to read.
func (i additionalInfo) violation(indent string) []string {
	info := i.Info
	lines := []string{fmt.Sprintf("%spolicy: %s (assignment %s)", indent, cmp.Or(info.DefinitionDisplayName, info.DefinitionName), cmp.Or(info.AssignmentDisplayName, info.AssignmentName))}
	for _, x := range info.EvaluationDetails.EvaluatedExpressions {
		told := fmt.Sprintf("%s  %s is %s", indent, x.Expression, x.ExpressionValue)
		if len(x.ExpressionValue) > 0 && !strings.EqualFold(x.Expression, "type") && !slices.Contains(lines, told) {
			lines = append(lines, told)
		}
	}
	if info.AssignmentDescription != "" {
		lines = append(lines, indent+"  "+info.AssignmentDescription)
	}
	return lines
}

func (d errorDetail) text(indent string) string {
	line := d.Code + ": " + d.withoutIdentifiers()
	if d.Target != "" {
		line += " (" + d.Target + ")"
	}
	lines := []string{indent + line}
	for _, i := range d.AdditionalInfo {
		if i.Type == "PolicyViolation" {
			lines = append(lines, i.violation(indent+"  ")...)
		}
	}
	for _, inner := range d.Details {
		lines = append(lines, inner.text(indent+"  "))
	}
	return strings.Join(lines, "\n")
}

// withoutIdentifiers drops the list of ids that ARM puts into the text of a refusal by
// policy; the additional info says the same for people.
func (d errorDetail) withoutIdentifiers() string {
	if len(d.AdditionalInfo) == 0 {
		return d.Message
	}
	text, _, _ := strings.Cut(d.Message, " Policy identifiers: ")
	return strings.TrimSuffix(text, " See error details for policy resource IDs.")
}

// parseError reads the envelope {"error":{…}} that ARM answers with, and the
// bare {"code":…} of a failed operation.
func parseError(e *azcore.ResponseError) (errorDetail, bool) {
	if e.RawResponse == nil || e.RawResponse.Body == nil {
		return errorDetail{}, false
	}
	body, err := io.ReadAll(io.LimitReader(e.RawResponse.Body, maxAnswer))
	if err != nil {
		return errorDetail{}, false
	}
	e.RawResponse.Body = io.NopCloser(strings.NewReader(string(body)))
	var envelope struct {
		Error errorDetail `json:"error"`
	}
	if json.Unmarshal(body, &envelope) == nil && envelope.Error.Code != "" {
		return envelope.Error, true
	}
	return errorDetail{}, false
}
