package rejections_test

import (
	"testing"

	"github.com/watertight-go/watertight/broker/brokertest"
)

func TestMain(m *testing.M) { brokertest.Main(m) }
