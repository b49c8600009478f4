package events

import "time"

// A mode is how one takes part in an event.
type mode int

const (
	onSite mode = iota
	online
	hybrid
)

// host is an association that events are of.
type host struct {
	name, member, members string
	domain                string
	topics                []string
	places                []place
}

// place is a city that a host meets in. The area is how members speak of the
// country around it; dial is its telephone area code.
type place struct {
	city, region, country, area, zone, dial string
}

// kind is a sort of event. Its names and texts have gaps in braces, which
// invent fills.
type kind struct {
	names       []string
	description string
	categories  []string
	venues      []string
	hour        int
	length      time.Duration
	mode        mode
	capacity    int64 // about how many can register; 0 when nobody registers
	capital     bool  // held in the capital, the first of the host's places
}

// hosts are in the order of the tenants that they stand for.
var hosts = []host{
	{
		name: "Keystone Association of School Boards", member: "board member", members: "school board members",
		domain: "schoolboards.example",
		topics: []string{
			"school funding", "special education", "student transportation", "teacher recruitment", "cyber charter tuition",
			"early literacy", "school safety", "collective bargaining", "career and technical education", "facilities planning",
		},
		places: []place{
			{"Harrisburg", "PA", "US", "Capital", "America/New_York", "717"},
			{"Pittsburgh", "PA", "US", "Southwestern", "America/New_York", "412"},
			{"Erie", "PA", "US", "Northwestern", "America/New_York", "814"},
			{"Allentown", "PA", "US", "Lehigh Valley", "America/New_York", "610"},
			{"Scranton", "PA", "US", "Northeastern", "America/New_York", "570"},
		},
	},
	{
		name: "Prairie Association of Counties", member: "county official", members: "county officials",
		domain: "counties.example",
		topics: []string{
			"road and bridge funding", "property tax", "broadband expansion", "emergency management", "public health departments",
			"land records", "elections administration", "jail standards", "water districts", "rural transit",
		},
		places: []place{
			{"Madison", "WI", "US", "South Central", "America/Chicago", "608"},
			{"Des Moines", "IA", "US", "Central", "America/Chicago", "515"},
			{"Lincoln", "NE", "US", "Eastern", "America/Chicago", "402"},
			{"Denver", "CO", "US", "Front Range", "America/Denver", "303"},
			{"Winnipeg", "MB", "CA", "Red River", "America/Winnipeg", "204"},
		},
	},
	{
		name: "Pacific Nurses Federation", member: "nurse", members: "nurses",
		domain: "nurses.example",
		topics: []string{
			"safe staffing ratios", "nurse licensure", "workplace violence prevention", "rural hospital closures", "overtime rules",
			"continuing education", "school nursing", "telehealth practice", "infection control", "retirement security",
		},
		places: []place{
			{"Sacramento", "CA", "US", "Valley", "America/Los_Angeles", "916"},
			{"Portland", "OR", "US", "Willamette", "America/Los_Angeles", "503"},
			{"Olympia", "WA", "US", "South Sound", "America/Los_Angeles", "360"},
			{"Phoenix", "AZ", "US", "Desert", "America/Phoenix", "602"},
			{"Honolulu", "HI", "US", "Islands", "Pacific/Honolulu", "808"},
		},
	},
}

var (
	halls  = []string{"{city} Convention Center", "Riverside Conference Hall", "Union Station Hotel", "Grand Avenue Ballroom"}
	rooms  = []string{"{host} Training Room", "{city} Public Library", "Old Mill Learning Center", "Northside Community College"}
	state  = []string{"Capitol Annex", "State House Rotunda", "Legislative Office Building, Room 140", "Government Center, East Wing"}
	places = []string{"Botanical Garden Pavilion", "{city} Art Museum", "Lakeshore Clubhouse", "Harbor View Terrace"}
)

var kinds = []kind{
	{
		names:       []string{"{region} Conference {year}", "{city} Conference: {topic}"},
		description: "Two days of the {host}: keynotes, an exhibit hall and sessions on {topic}, opened by {speaker}.",
		categories:  []string{"Conference", "Member"}, venues: halls, hour: 8, length: 33 * time.Hour, mode: onSite, capacity: 900,
	},
	{
		names:       []string{"Legislative Day {year}", "Day at the Capitol: {topic}"},
		description: "{members} meet their legislators about {topic}. A briefing comes first; appointments are made for each district.",
		categories: []string{
			"Legislative", "Advocacy",
		}, venues: state, capital: true, hour: 9, length: 7 * time.Hour, mode: onSite, capacity: 250,
	},
	{
		names:       []string{"Webinar: {topic} in practice", "Lunch and Learn: {topic}"},
		description: "An hour on {topic} with {speaker}, and time for questions. The recording goes to everyone who registers.",
		categories:  []string{"Education", "Webinar"}, hour: 12, length: time.Hour, mode: online, capacity: 400,
	},
	{
		names:       []string{"{region} Regional Meeting", "{region} Regional Briefing: {topic}"},
		description: "{members} of the {region} region hear what is new in {topic} and elect their delegates.",
		categories:  []string{"Regional", "Member"}, venues: rooms, hour: 18, length: 3 * time.Hour, mode: onSite, capacity: 120,
	},
	{
		names:       []string{"Board of Directors Meeting", "Executive Committee Meeting"},
		description: "Regular meeting of the {host}. The agenda includes a report on {topic}.",
		categories:  []string{"Governance"}, venues: rooms, hour: 10, length: 4 * time.Hour, mode: hybrid,
	},
	{
		names:       []string{"New Member Orientation", "First Year Academy: {topic}"},
		description: "What every new {member} needs to know: duties, ethics, open meetings, and an introduction to {topic}.",
		categories:  []string{"Education", "Member"}, venues: rooms, hour: 9, length: 6 * time.Hour, mode: hybrid, capacity: 80,
	},
	{
		names:       []string{"Hearing Watch: {topic}", "Committee Hearing on {topic}"},
		description: "The legislature takes testimony on {topic}; {speaker} testifies for the {host}. Followed by a debrief online.",
		categories: []string{
			"Legislative", "Hearing",
		}, venues: state, capital: true, hour: 13, length: 2 * time.Hour, mode: hybrid, capacity: 60,
	},
	{
		names:       []string{"{city} Member Reception", "Welcome Reception with {speaker}"},
		description: "An evening for {members} and their guests, with light food. {speaker} says a few words about {topic}.",
		categories:  []string{"Social", "Member"}, venues: places, hour: 17, length: 3 * time.Hour, mode: onSite, capacity: 150,
	},
	{
		names:       []string{"Advocacy Training: {topic}", "Speaking up on {topic}"},
		description: "A workshop in telling your story to lawmakers, with {topic} as the example. {speaker} leads the exercises.",
		categories:  []string{"Advocacy", "Education"}, venues: rooms, hour: 9, length: 5 * time.Hour, mode: onSite, capacity: 45,
	},
	{
		names:       []string{"{region} Awards Dinner {year}", "{city} Service Awards {year}"},
		description: "The {host} honours {members} who moved {topic} forward. Tables seat ten.",
		categories:  []string{"Awards", "Member"}, venues: places, hour: 18, length: 4 * time.Hour, mode: onSite, capacity: 320,
	},
	{
		names:       []string{"Policy Briefing: {topic}", "Bill Update: {topic}"},
		description: "Our lobbyists go through the bills that touch {topic}, with a count of the votes and what to ask for next.",
		categories:  []string{"Legislative", "Webinar"}, hour: 8, length: time.Hour, mode: online, capacity: 300,
	},
	{
		names:       []string{"{topic}: Certificate Course", "Certification Program, Module: {topic}"},
		description: "A full day that counts towards the certificate. Bring a laptop; {speaker} works through cases in {topic}.",
		categories:  []string{"Education", "Certification"}, venues: rooms, hour: 8, length: 8 * time.Hour, mode: hybrid, capacity: 60,
	},
}

// onlineClosings is how many of closings suit an event without a venue.
const onlineClosings = 4

var closings = []string{
	"Registration is free for members.",
	"Sign language interpretation on request.",
	"Materials are sent a week before.",
	"Continuing education credit is available.",
	"Parking and a light lunch are included.",
	"Bring a colleague: the second seat is half price.",
}

var givenNames = []string{
	"Alma", "Benjamin", "Carla", "Darnell", "Elena", "Farid", "Grace", "Hector", "Ingrid", "Jamal", "Keiko", "Lucas",
	"Miriam", "Noah", "Olivia", "Priya", "Quentin", "Rosa", "Samuel", "Teresa", "Umar", "Vera", "Walter", "Yolanda",
}

var familyNames = []string{
	"Abbott", "Baptiste", "Castillo", "Dvorak", "Ellison", "Fontaine", "Goldberg", "Hughes", "Ibarra", "Jacobsen", "Kim",
	"Lombardi", "Mbeki", "Novak", "Okafor", "Petersen", "Quinn", "Ramirez", "Sandoval", "Tanaka", "Underwood", "Whitfield",
}
