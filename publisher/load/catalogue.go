package load

import (
	"fmt"
	"strings"
)

// Article is something the pretended shop sells.
type Article struct {
	SKU   string
	Name  string
	Price int64 // in cents of a euro
	Stock int64 // enough for some hundred thousand orders
}

// stock is how many of each article there are.
const stock = 1_000_000

// Catalogue returns the articles that generated orders are made of.
func Catalogue() []Article { return append([]Article(nil), articles[:]...) }

var articles = [...]Article{
	{"MUG-RED", "Mug, red", 1299, stock},
	{"MUG-BLUE", "Mug, blue", 1299, stock},
	{"MUG-STEEL", "Mug, steel, 0.4 l", 2450, stock},
	{"KETTLE-1L", "Kettle, 1 l", 3999, stock},
	{"KETTLE-17L", "Kettle, 1.7 l", 5499, stock},
	{"TEAPOT-GLASS", "Teapot, glass", 2990, stock},
	{"TEA-ASSAM-250", "Assam, 250 g", 890, stock},
	{"TEA-MINT-100", "Mint, 100 g", 450, stock},
	{"COFFEE-1KG", "Coffee, whole beans, 1 kg", 1890, stock},
	{"GRINDER-HAND", "Hand grinder", 6990, stock},
	{"PRESS-08L", "French press, 0.8 l", 3490, stock},
	{"SCALE-KITCHEN", "Kitchen scale", 2499, stock},
	{"TOWEL-LINEN", "Tea towel, linen", 990, stock},
	{"APRON-GREY", "Apron, grey", 2290, stock},
	{"BOARD-OAK", "Chopping board, oak", 4490, stock},
	{"KNIFE-CHEF", "Chef's knife, 20 cm", 8990, stock},
	{"PAN-IRON-28", "Pan, cast iron, 28 cm", 5990, stock},
	{"POT-STEEL-5L", "Pot, steel, 5 l", 7490, stock},
	{"BOX-LUNCH", "Lunch box", 1690, stock},
	{"GIFT-CARD-50", "Gift card", 5000, stock},
}

// StockCSV returns the catalogue's stock as lines of "sku,quantity".
func StockCSV() string {
	var b strings.Builder
	for _, a := range articles {
		fmt.Fprintf(&b, "%s,%d\n", a.SKU, a.Stock)
	}
	return b.String()
}
