package policy

import (
	"fmt"

	"hallmark.dev/hallmark/internal/expr/value"
)

// Deployment is what deployIfNotExists deploys for one resource: its details'
// deployment, with the parameters evaluated. The template is as written: its
// expressions are the deployment's.
type Deployment struct {
	AtSubscription bool   // deploymentScope; else in a resource group
	ResourceGroup  string // that of the related resource, if it is another than the resource's; "" if not
	Location       string // of a deployment at the subscription
	Properties     Value  // mode, template and parameters, as a deployment has them
}

// Deployment evaluates what to deploy for a resource that the rule has hit.
func (p *Program) Deployment(in Input) (Deployment, error) {
	details := p.def.Details
	get := func(of Value, key string) Value { return of.Find(value.NewKey(key)) }
	deployment := get(details, "deployment")
	properties := get(deployment, "properties")
	if get(properties, "template").Kind() != value.Object {
		return Deployment{}, fmt.Errorf("the policy's details have no deployment with a template")
	}
	e := evaluation{c: newCompiler(p.def, p.options, false), path: join(p.def.detailsPath(), "deployment")}
	scope := e.add(get(details, "deploymentScope"), "deploymentScope")
	group := e.add(get(details, "resourceGroupName"), "resourceGroupName")
	location := e.add(get(deployment, "location"), "location")
	parameters := e.add(get(properties, "parameters"), "properties.parameters")
	if err := e.c.problems.err(); err != nil {
		return Deployment{}, err
	}
	if err := e.run(in); err != nil {
		return Deployment{}, err
	}
	d := Deployment{AtSubscription: value.EqualASCII(e.values[scope].Str(), "subscription"), ResourceGroup: e.values[group].Str(), Location: e.values[location].Str()}
	fields := []value.Field{{Key: "mode", Value: value.FromString("Incremental")}, {Key: "template", Value: get(properties, "template")}}
	if v := e.values[parameters]; v.Kind() == value.Object {
		fields = append(fields, value.Field{Key: "parameters", Value: v})
	}
	d.Properties = value.FromFields(fields)
	return d, nil
}

// evaluation compiles some values, and evaluates them together.
type evaluation struct {
	c        *compiler
	path     string
	operands []operand
	values   []Value
}

func (e *evaluation) add(v Value, key string) int {
	e.operands = append(e.operands, e.c.operand(v, join(e.path, key)))
	return len(e.operands) - 1
}

func (e *evaluation) run(in Input) error {
	f := newFrame(e.c.slots, &in)
	f.remember(e.c.fieldNumbers, e.c.groupNumbers)
	defer f.release()
	for i := range e.operands {
		v, ok := e.operands[i].value(f, e.path)
		if !ok {
			return f.problem
		}
		e.values = append(e.values, v)
	}
	return nil
}
