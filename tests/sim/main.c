/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * main.c - the command line of the simulator.
 *
 *   sim [--schedules N] [--seed S] [--scenario NAME|none] [--verbose] [--violations N] [--list]
 *   sim --single[=NAME[:FAULT[:POINT]]]   each fault alone, at each point of each script
 *   sim-mutants ... [--mutant NAME] [--list-mutants]
 *
 * Schedule i of a run has the seed S + i, so `--schedules 1 --seed X --verbose` tells the story of
 * a failed one. With a mutant a bug is planted, and violations are what is hoped for. Exit status:
 * 0 no violation, 1 violations, 2 usage.
 */
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "script.h"

struct options {
    uint64_t schedules, seed;
    const char *scenario, *single;
    bool verbose, list, list_mutants;
    uint64_t violations_max;
};

/* Of processor time. */
static double seconds_now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time); /* the machine may be shared */
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void usage(FILE *out)
{
    fprintf(out, "usage: sim [--schedules N] [--seed S] [--scenario NAME] [--verbose]\n"
                 "           [--violations N] [--list] [--single[=NAME[:FAULT[:POINT]]]]\n"
                 "       sim-mutants ... [--mutant NAME] [--list-mutants]\n");
}

/* Errors: REPLICA_E_INVALID. */
static int options_read(int count, char **words, struct options *options)
{
    static const struct option known[] = {{"schedules", required_argument, NULL, 'n'},
                                          {"seed", required_argument, NULL, 's'},
                                          {"scenario", required_argument, NULL, 'c'},
                                          {"verbose", no_argument, NULL, 'v'},
                                          {"violations", required_argument, NULL, 'x'},
                                          {"single", optional_argument, NULL, '1'},
                                          {"list", no_argument, NULL, 'l'},
                                          {"mutant", required_argument, NULL, 'm'},
                                          {"list-mutants", no_argument, NULL, 'M'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    int letter;

    while ((letter = getopt_long(count, words, "n:s:c:vx:1::lm:Mh", known, NULL)) != -1) {
        switch (letter) {
        case 'n':
            options->schedules = strtoull(optarg, NULL, 0);
            break;
        case 's':
            options->seed = strtoull(optarg, NULL, 0);
            break;
        case 'c':
            options->scenario = optarg;
            break;
        case 'v':
            options->verbose = true;
            break;
        case 'x':
            options->violations_max = strtoull(optarg, NULL, 0);
            break;
        case '1':
            options->single = optarg ? optarg : "";
            break;
        case 'l':
            options->list = true;
            break;
        case 'm':
            if (!mutants_select(optarg))
                return REPLICA_E_INVALID;
            break;
        case 'M':
            options->list_mutants = true;
            break;
        default:
            return REPLICA_E_INVALID;
        }
    }
    return optind == count ? 0 : REPLICA_E_INVALID;
}

static void list_scenarios(void)
{
    const struct scenario *scenario;
    const struct script *script;

    for (unsigned i = 0; (scenario = scenario_at(i)); i++)
        printf("%-24s %s\n", scenario->name, scenario->what);
    for (unsigned i = 0; (script = script_at(i)); i++)
        printf("--single=%-15s %s\n", script->name, script->what);
    wounds_list();
}

static void tell(const struct sim_world *world, const char *what)
{
    printf("sim: %s seed %llu: %s\n", what, (unsigned long long)world->seed, world->failure);
    fflush(stdout);
}

/* Named scenarios, each with some seeds: their timings differ. */
static void run_scenarios(struct sim_world *world, const struct options *options, uint64_t times)
{
    const struct scenario *scenario;

    for (unsigned i = 0; (scenario = scenario_at(i)); i++) {
        if (options->scenario && strcmp(options->scenario, scenario->name) != 0)
            continue;
        for (uint64_t k = 0; k < times; k++) {
            if (scenario_run(world, scenario, options->seed + k) == 0)
                continue;
            tell(world, scenario->name);
            if (world->counts.violations >= options->violations_max)
                return;
            break;
        }
    }
}

static void run_schedules(struct sim_world *world, const struct options *options)
{
    for (uint64_t i = 0;
         i < options->schedules && world->counts.violations < options->violations_max; i++) {
        if (schedule_run(world, options->seed + i) == 0)
            continue;
        tell(world, "violation,");
    }
}

static void run_random(struct sim_world *world, const struct options *options)
{
    bool none = options->scenario && strcmp(options->scenario, "none") == 0;

    run_scenarios(world, options,
                  options->verbose    ? 1
                  : options->scenario ? options->schedules
                                      : 20);
    if (!options->scenario || none)
        run_schedules(world, options);
}

static void run_single(struct sim_world *world, const struct options *options)
{
    single_run(world, options->single, options->seed, options->violations_max);
    printf("sim: %llu single faults, %llu violations\n", (unsigned long long)world->counts.singles,
           (unsigned long long)world->counts.violations);
}

static void print_totals(const struct sim_counts *counts, double seconds)
{
    printf("sim: %llu reads, %llu flushes, %llu promotions, %llu migrations, %llu resyncs, "
           "%llu resizes, %llu steps, digest %016llx\n",
           (unsigned long long)counts->reads, (unsigned long long)counts->flushes,
           (unsigned long long)counts->promotions, (unsigned long long)counts->migrations,
           (unsigned long long)counts->resyncs, (unsigned long long)counts->resizes,
           (unsigned long long)counts->steps, (unsigned long long)counts->digest);
    printf("sim: %llu schedules, %llu writes, %llu faults, %llu violations, %.0f schedules/s\n",
           (unsigned long long)counts->schedules, (unsigned long long)counts->writes,
           (unsigned long long)counts->faults, (unsigned long long)counts->violations,
           seconds > 0 ? (double)counts->schedules / seconds : 0.0);
}

/* ---- a step that does not end -------------------------------------------------------------- */

enum { STEP_SECONDS = 5 };

static struct sim_world *watched;

/* Every STEP_SECONDS of processor time. Nothing but a core that goes round in circles takes that
 * long for one step; it holds no lock of the C library. */
static void look_at_steps(int signal_number)
{
    static uint64_t seen;

    (void)signal_number;
    if (watched->counts.steps != seen) {
        seen = watched->counts.steps;
        return;
    }
    printf("sim: violation, seed %llu: liveness at %.3f ms: a step does not end\n",
           (unsigned long long)watched->seed, (double)watched->now / 1e6);
    watched->counts.violations++;
    print_totals(&watched->counts, 0);
    fflush(stdout);
    _exit(1);
}

static void watch_steps(struct sim_world *world)
{
    struct itimerval every = {.it_interval.tv_sec = STEP_SECONDS, .it_value.tv_sec = STEP_SECONDS};

    watched = world;
    signal(SIGVTALRM, look_at_steps);
    setitimer(ITIMER_VIRTUAL, &every, NULL);
}

int main(int count, char **words)
{
    struct options options = {.schedules = 2000, .seed = 1, .violations_max = 10};
    struct sim_world *world = NULL;
    double start = seconds_now();
    int status;

    if (options_read(count, words, &options)) {
        usage(stderr);
        return 2;
    }
    if (!wounds_check())
        return 2;
    if (options.list) {
        list_scenarios();
        return 0;
    }
    if (options.list_mutants) {
        mutants_list();
        return 0;
    }
    if (world_new(&world)) {
        fprintf(stderr, "sim: no memory\n");
        return 2;
    }
    world->verbose = options.verbose;
    watch_steps(world);
    if (options.single)
        run_single(world, &options);
    else
        run_random(world, &options);
    print_totals(&world->counts, seconds_now() - start);
    status = world->counts.violations ? 1 : 0;
    world_free(world);
    return status;
}
