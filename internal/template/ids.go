package template

import (
	"errors"
	"fmt"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
)

// resourceID answers the functions that write ids.
func (f *frame) resourceID(function string, args []Value) (Value, error) {
	texts := make([]string, len(args))
	for i, a := range args {
		texts[i] = a.Str()
		if texts[i] == "" {
			return Value{}, fmt.Errorf("argument %d must be text, not the %s", i+1, a.Kind())
		}
	}
	at := 0
	for at < len(texts) && !strings.Contains(texts[at], "/") {
		at++
	}
	if function == "extensionresourceid" {
		at = 1
	}
	if at >= len(texts) {
		return Value{}, errors.New("none of its arguments is a resource type such as Microsoft.Compute/virtualMachines")
	}
	base, err := f.idBase(function, texts[:at])
	if err != nil {
		return Value{}, err
	}
	id, err := writeID(base, texts[at], texts[at+1:])
	return text(id), err
}

// idBase is what an id starts with, by the arguments before the type.
func (f *frame) idBase(function string, before []string) (string, error) {
	sub, group := f.ctx.Scope.Subscription(), f.ctx.Scope.ResourceGroup()
	most := 0
	switch function {
	case "extensionresourceid":
		return strings.TrimSuffix(before[0], "/"), nil
	case "tenantresourceid":
		if len(before) == 0 {
			return "", nil
		}
	case "managementgroupresourceid":
		if most = 1; len(before) == 1 {
			return "/providers/Microsoft.Management/managementGroups/" + before[0], nil
		}
		return "", errors.New("the deployment is not at a management group: name one as the first argument")
	case "subscriptionresourceid":
		if most = 1; len(before) == 1 {
			sub = before[0]
		}
		group = ""
	default:
		most = 2
		switch {
		case len(before) == 2:
			sub, group = before[0], before[1]
		case len(before) == 1 && f.ctx.Scope.ResourceGroup() != "":
			group = before[0]
		case len(before) == 1:
			sub = before[0]
		}
	}
	switch {
	case len(before) > most:
		return "", fmt.Errorf("there are %d arguments before the resource type; at most %d are possible", len(before), most)
	case sub == "":
		_, err := f.unknown("the subscription is not known")
		return "", err
	case group == "":
		return "/subscriptions/" + sub, nil
	}
	return "/subscriptions/" + sub + "/resourceGroups/" + group, nil
}

// writeID joins a type and its names.
func writeID(base, typ string, names []string) (string, error) {
	seg := strings.Split(typ, "/")
	if len(names) == 1 && len(seg) > 2 {
		names = strings.Split(names[0], "/") // as reference and dependsOn have them
	}
	if len(seg)-1 != len(names) {
		return "", fmt.Errorf("the type '%s' takes %d names, not %d", clip(typ), len(seg)-1, len(names))
	}
	if strings.EqualFold(typ, string(arm.TypeResourceGroup)) && strings.HasPrefix(base, "/subscriptions/") {
		return base + "/resourceGroups/" + names[0], nil
	}
	var b strings.Builder
	b.WriteString(base + "/providers/" + seg[0])
	for i, n := range names {
		b.WriteString("/" + seg[i+1] + "/" + n)
	}
	return b.String(), nil
}

// extension is one level of resources on a resource: type "NS/a/b", names "x", "y".
type level struct {
	typ   string
	names []string
}

// levels takes a type and a name apart, extensions written as
// "Microsoft.Compute/virtualMachines/providers/locks" included.
func levels(typ, name string) ([]level, error) {
	types, names := strings.Split(typ, "/"), strings.Split(name, "/")
	wrong := fmt.Errorf("the template resource '%s' for type '%s' has incorrect segment lengths. A nested resource type must have identical number of segments as its resource name. A root resource type must have segment length one greater than its resource name", clip(name), clip(typ))
	var out []level
	one := level{typ: types[0]}
	rest := names
	take := func() (string, bool) {
		if len(rest) == 0 || rest[0] == "" {
			return "", false
		}
		n := rest[0]
		rest = rest[1:]
		return n, true
	}
	for _, t := range types[1:] {
		n, ok := take()
		if !ok || t == "" {
			return nil, wrong
		}
		if strings.EqualFold(t, "providers") && len(one.names) > 0 {
			out = append(out, one)
			one = level{typ: n}
			continue
		}
		one.typ += "/" + t
		one.names = append(one.names, n)
	}
	if len(rest) > 0 || len(one.names) == 0 || types[0] == "" {
		return nil, wrong
	}
	return append(out, one), nil
}

// idIn is the id of a resource with a type and a name at a scope.
func idIn(scope arm.ID, typ, name string) (arm.ID, error) {
	all, err := levels(typ, name)
	if err != nil {
		return arm.ID{}, err
	}
	base := strings.TrimSuffix(scope.String(), "/")
	for _, l := range all {
		if base, err = writeID(base, l.typ, l.names); err != nil {
			return arm.ID{}, err
		}
	}
	return arm.ParseID(base)
}

// splitRelative reads "NS/a/b/x/y" (a type, then names) or "NS/a/x/b/y" (in turns):
// every reading that has as many names as types.
func splitRelative(text string) (readings [][2]string) {
	seg := strings.Split(strings.Trim(text, "/"), "/")
	n := len(seg) - 1
	if n < 2 || n%2 != 0 {
		return nil
	}
	readings = append(readings, [2]string{strings.Join(seg[:n/2+1], "/"), strings.Join(seg[n/2+1:], "/")})
	if n > 2 {
		types, names := []string{seg[0]}, []string{}
		for i := 1; i < len(seg); i += 2 {
			types, names = append(types, seg[i]), append(names, seg[i+1])
		}
		readings = append(readings, [2]string{strings.Join(types, "/"), strings.Join(names, "/")})
	}
	return readings
}
