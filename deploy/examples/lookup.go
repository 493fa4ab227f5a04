// Looks a project up. In a folder with this file, go.mod, go.sum and retry.json:
//
//	protoc -I PROTO --go_out=. --go-grpc_out=. PROTO/evenkeel/v1/*.proto
//	go run . PROJECT
package main

import (
	"context"
	_ "embed"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	evenkeel "lookup/evenkeel/v1"
)

const window = 2 << 20

//go:embed retry.json
var retry string

func main() {
	log.SetFlags(0)
	address := os.Getenv("EVENKEEL_ADDRESS")
	if address == "" {
		address = "127.0.0.1:7400"
	}
	channel, err := grpc.NewClient(address, // one channel for the life of a program
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(retry),
		grpc.WithInitialWindowSize(window),
		grpc.WithInitialConnWindowSize(window),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(33<<20)),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer channel.Close()

	deadline, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	request := &evenkeel.GetConfigRequest{Project: os.Args[1]}
	answer, err := evenkeel.NewConfigServiceClient(channel).GetConfig(deadline, request)
	if err != nil {
		log.Fatal(err)
	}
	if answer.Served == evenkeel.Served_SERVED_OUTDATED {
		seconds := answer.RetryAfter.AsDuration().Seconds()
		fmt.Fprintf(os.Stderr, "outdated: %v, retry after %.1f s\n", answer.NotRefreshed, seconds)
	}
	fmt.Println(string(answer.Payload))
}
