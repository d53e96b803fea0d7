package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"hallmark.dev/hallmark/internal/azure"
)

const apiGraph = "2022-10-01"

func (a *App) graphCommand() *cobra.Command {
	command := &cobra.Command{Use: "graph", Short: "Ask about everything at once, in Azure Resource Graph's language"}
	command.AddCommand(a.graphQuery())
	return command
}

// graphPage is how many rows are asked for at a time: the service's limit.
const graphPage = 1000

type graphFlags struct {
	subscriptions, groups []string
	first, skip           int
}

func (a *App) graphQuery() *cobra.Command {
	var f graphFlags
	c := &cobra.Command{
		Use: "query QUERY", Short: "Answer a Kusto query over all resources that you may read (@FILE reads it from a file)", Args: cobra.ExactArgs(1),
		Example: `  hallmark graph query "Resources | where type =~ 'Microsoft.Compute/virtualMachines' | project name, location"
  hallmark graph query "Resources | summarize count() by type | order by count_ desc" -o table
  hallmark graph query "PolicyResources | where properties.complianceState == 'NonCompliant' | project properties.resourceId"`,
		RunE: func(c *cobra.Command, arguments []string) error { return a.runGraph(c.Context(), arguments[0], f) },
	}
	c.Flags().StringSliceVar(&f.subscriptions, "subscriptions", nil, "only these subscriptions' ids (default: all that you may read)")
	c.Flags().StringSliceVar(&f.groups, "management-groups", nil, "only what is below these management groups")
	c.Flags().IntVar(&f.first, "first", graphPage, "at most so many rows; 0 means all")
	c.Flags().IntVar(&f.skip, "skip", 0, "leave out so many rows at the beginning")
	return c
}

func (a *App) runGraph(ctx context.Context, query string, f graphFlags) error {
	if path, ok := strings.CutPrefix(query, "@"); ok {
		raw, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read the query: %w", err)
		}
		query = string(raw)
	}
	if f.first < 0 || f.skip < 0 {
		return usage("--first and --skip must not be negative")
	}
	client, _, err := a.connect()
	if err != nil {
		return err
	}
	rows, columns, total, err := askGraph(ctx, client, query, f)
	if err != nil {
		return err
	}
	if left := total - f.skip - len(rows); left > 0 && f.first > 0 {
		a.progress("%d of %d rows; --first 0 shows all", len(rows), total)
	}
	return a.print(rows, columns...)
}

// graphAnswer is a page in the form that keeps the order of columns.
type graphAnswer struct {
	TotalRecords int
	SkipToken    string `json:"$skipToken"`
	Data         struct {
		Columns []struct{ Name string }
		Rows    [][]json.RawMessage
	}
}

// askGraph reads pages until there are enough rows.
func askGraph(ctx context.Context, client *azure.Client, query string, f graphFlags) (rows []map[string]json.RawMessage, columns []column, total int, err error) {
	token := ""
	rows = []map[string]json.RawMessage{}
	for {
		top := graphPage
		if f.first > 0 {
			top = min(top, f.first-len(rows))
		}
		options := map[string]any{"resultFormat": "table", "$top": top, "$skip": f.skip}
		if token != "" {
			options["$skipToken"] = token
		}
		body := map[string]any{"query": query, "options": options}
		if len(f.subscriptions) > 0 {
			body["subscriptions"] = f.subscriptions
		}
		if len(f.groups) > 0 {
			body["managementGroups"] = f.groups
		}
		var answer graphAnswer
		if err := client.Do(ctx, azure.Request{Method: http.MethodPost, Path: "/providers/Microsoft.ResourceGraph/resources", APIVersion: apiGraph, Body: body}, &answer); err != nil {
			return nil, nil, 0, err
		}
		rows, columns = answer.append(rows)
		token, total = answer.SkipToken, answer.TotalRecords
		if token == "" || f.first > 0 && len(rows) >= f.first {
			return rows, columns, total, nil
		}
	}
}

func (g graphAnswer) append(rows []map[string]json.RawMessage) (all []map[string]json.RawMessage, columns []column) {
	for _, c := range g.Data.Columns {
		columns = append(columns, column{c.Name, `"` + strings.ReplaceAll(c.Name, `"`, `\"`) + `"`})
	}
	for _, cells := range g.Data.Rows {
		row := map[string]json.RawMessage{}
		for i, cell := range cells {
			if i < len(g.Data.Columns) {
				row[g.Data.Columns[i].Name] = cell
			}
		}
		rows = append(rows, row)
	}
	return rows, columns
}
