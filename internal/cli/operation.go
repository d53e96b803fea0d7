package cli

import (
	"context"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"hallmark.dev/hallmark/internal/azure"
)

var operationColumns = []column{
	{"Name", "name"}, {"Action", "action"}, {"Status", "status"}, {"Started", "startTime"}, {"Resource", "resource"}, {"Error", "error.message"},
}

func (a *App) operationCommand() *cobra.Command {
	command := &cobra.Command{Use: "operation", Short: "Look at long-running operations"}
	command.AddCommand(
		&cobra.Command{
			Use: "list", Short: "List operations, newest first", Args: cobra.NoArgs,
			RunE: func(c *cobra.Command, _ []string) error {
				all, err := a.operations(c.Context())
				if err != nil {
					return err
				}
				return a.print(all, operationColumns...)
			},
		},
		&cobra.Command{
			Use: "show NAME", Short: "Show an operation", Args: cobra.ExactArgs(1),
			RunE: func(c *cobra.Command, arguments []string) error { return a.operationShow(c.Context(), arguments[0]) },
		},
	)
	return command
}

func (a *App) operations(ctx context.Context) ([]map[string]any, error) {
	s, err := a.open(scope{})
	if err != nil {
		return nil, err
	}
	var page struct{ Value []map[string]any }
	err = s.Do(ctx, azure.Request{Method: "GET", Path: s.subscriptionID() + "/providers/Hallmark.Control/operations", APIVersion: apiHallmark, Query: url.Values{}}, &page)
	return page.Value, err
}

func (a *App) operationShow(ctx context.Context, name string) error {
	all, err := a.operations(ctx)
	if err != nil {
		return err
	}
	for _, one := range all {
		if id, _ := one["name"].(string); strings.EqualFold(id, name) {
			return a.print(one, operationColumns...)
		}
	}
	return notFound("there is no operation %s; hallmark operation list shows those that are kept", name)
}
