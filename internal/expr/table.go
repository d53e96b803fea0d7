package expr

import (
	"fmt"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/expr/value"
)

// Function is one row of the table. Two rows may share a name when the dialects
// differ in what it does.
type Function struct {
	Name string
	In   Dialect // who may call it
	Min  int     // arguments
	Max  int     // -1: any number

	call func(args []Value) (Value, error) // a pure function
	lazy lazy                              // decides itself which arguments it evaluates
	host bool                              // answered by the Host
}

const (
	all      = Policy | Deployment | DSC
	template = Deployment | DSC
	anything = -1
)

// table lists the functions. What Azure documents for a deployment but forbids
// in a policy lacks Policy; what DSC v3 does not have lacks DSC.
var table = slices.Concat(logicTable, textTable, listTable, objectTable, numberTable, encodingTable, dateTable, addressTable, lambdaTable, hostTable)

// hostTable are the functions whose answer depends on where the expression stands.
var hostTable = []Function{
	{Name: "parameters", In: all, Min: 1, Max: 1, host: true},
	{Name: "variables", In: template, Min: 1, Max: 1, host: true},
	{Name: "utcNow", In: all, Min: 0, Max: 1, host: true},
	// Azure Policy
	{Name: "field", In: Policy, Min: 1, Max: 1, host: true},
	{Name: "current", In: Policy, Min: 0, Max: 1, host: true},
	{Name: "requestContext", In: Policy, host: true},
	{Name: "policy", In: Policy, host: true},
	{Name: "claims", In: Policy, host: true},
	{Name: "resourceGroup", In: Policy | Deployment, host: true},
	{Name: "subscription", In: Policy | Deployment, host: true},
	// ARM deployments
	{Name: "managementGroup", In: Deployment, host: true},
	{Name: "tenant", In: Deployment, host: true},
	{Name: "deployment", In: Deployment, host: true},
	{Name: "deployer", In: Deployment, host: true},
	{Name: "environment", In: Deployment, host: true},
	{Name: "providers", In: Deployment, Min: 1, Max: 2, host: true},
	{Name: "reference", In: Deployment, Min: 1, Max: 3, host: true},
	{Name: "references", In: Deployment, Min: 1, Max: 2, host: true},
	{Name: "resourceId", In: Deployment, Min: 2, Max: anything, host: true},
	{Name: "subscriptionResourceId", In: Deployment, Min: 2, Max: anything, host: true},
	{Name: "tenantResourceId", In: Deployment, Min: 2, Max: anything, host: true},
	{Name: "managementGroupResourceId", In: Deployment, Min: 2, Max: anything, host: true},
	{Name: "extensionResourceId", In: Deployment, Min: 3, Max: anything, host: true},
	{Name: "pickZones", In: Deployment, Min: 3, Max: 5, host: true},
	{Name: "toLogicalZone", In: Deployment, Min: 3, Max: 3, host: true},
	{Name: "toLogicalZones", In: Deployment, Min: 3, Max: 3, host: true},
	{Name: "toPhysicalZone", In: Deployment, Min: 3, Max: 3, host: true},
	{Name: "toPhysicalZones", In: Deployment, Min: 3, Max: 3, host: true},
	{Name: "newGuid", In: Deployment, host: true},
	{Name: "copyIndex", In: template, Min: 0, Max: 2, host: true},
	// DSC v3 documents
	{Name: "reference", In: DSC, Min: 1, Max: 1, host: true},
	{Name: "resourceId", In: DSC, Min: 2, Max: 2, host: true},
	{Name: "context", In: DSC, host: true},
	{Name: "envvar", In: DSC, Min: 1, Max: 1, host: true},
	{Name: "loadFileAsBase64", In: DSC, Min: 1, Max: 1, host: true},
	{Name: "loadTextContent", In: DSC, Min: 1, Max: 2, host: true},
	{Name: "path", In: DSC, Min: 2, Max: anything, host: true},
	{Name: "restartRequired", In: DSC, Min: 0, Max: 1, host: true},
	{Name: "secret", In: DSC, Min: 1, Max: 2, host: true},
	{Name: "stateChanged", In: DSC, Min: 1, Max: 1, host: true},
	{Name: "stdout", In: DSC, host: true},
	{Name: "systemRoot", In: DSC, Min: 0, Max: 1, host: true},
	{Name: "tryWhich", In: DSC, Min: 1, Max: 1, host: true},
}

// names is the index over table, keyed by the name in lower case.
var names = func() map[string][]*Function {
	index := make(map[string][]*Function, len(table))
	for i := range table {
		key := value.LowerASCII(table[i].Name)
		index[key] = append(index[key], &table[i])
	}
	return index
}()

// find returns the row for a dialect; known says that some dialect has the name.
func find(name string, d Dialect) (fn *Function, known bool) {
	rows := names[value.LowerASCII(name)]
	for _, row := range rows {
		if row.In&d != 0 {
			return row, true
		}
	}
	if strings.HasPrefix(value.LowerASCII(name), "list") && d == Deployment && len(rows) == 0 {
		return &Function{Name: name, In: Deployment, Min: 1, Max: 3, host: true}, true
	}
	return nil, len(rows) > 0
}

func isUserDefined(name string) bool { return strings.Contains(name, ".") }

// Functions returns the table sorted by name. The functions that start with list
// (listKeys and its like) are not in it: deployments pass any such name to the Host.
func Functions() []Function {
	rows := slices.Clone(table)
	slices.SortStableFunc(rows, func(a, b Function) int {
		return strings.Compare(value.LowerASCII(a.Name), value.LowerASCII(b.Name))
	})
	return rows
}

func (f *Function) arity() string {
	switch {
	case f.Max < 0:
		return fmt.Sprintf("it takes %d or more arguments", f.Min)
	case f.Min == f.Max:
		return fmt.Sprintf("it takes %d arguments", f.Min)
	}
	return fmt.Sprintf("it takes %d to %d arguments", f.Min, f.Max)
}
